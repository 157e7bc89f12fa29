{#-
  Removal of the formula's configuration from every host, run on the master: salt-run
  state.orchestrate dkim.orchestrate.remove. Mail hosts come first, one at a time, then standby and
  database host, whose logins the mail hosts need until then, and which may be mail hosts too. Mail is
  delivered throughout, unsigned. Keys, tables and roles stay.
#}
{%- from 'dkim/orchestrate/steps.jinja' import fleet, refused, step, stopped with context %}

{%- if fleet.problems %}
{{- refused() }}
{%- else %}
{%- for host in fleet.mail if host not in fleet.standby + fleet.database %}
{{- step(host ~ ' does not sign', [host], ['dkim.clean']) }}
{%- endfor %}
{%- if fleet.standby %}
{{- step('No DKIM role can log in to the standby', fleet.standby, ['dkim.clean']) }}
{%- endif %}
{{- step('No DKIM role can log in to the database', fleet.database, ['dkim.clean']) }}
{{- stopped() }}
{%- endif %}
