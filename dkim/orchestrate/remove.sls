{#-
  The formula's configuration off every host, from the master: salt-run state.orchestrate
  dkim.orchestrate.remove. Mail hosts one at a time, then the database's; mail flows on, unsigned.
  Keys, tables and roles stay.
#}
{%- from 'dkim/orchestrate/steps.jinja' import fleet, refused, step, stopped with context %}

{%- if fleet.problems %}
{{- refused() }}
{%- else %}
{%- for host in fleet.mail %}
{{- step(host ~ ' signs no more', [host], ['dkim.clean']) }}
{%- endfor %}
{%- if fleet.standby %}
{{- step('The standby lets nobody in', fleet.standby, ['dkim.clean']) }}
{%- endif %}
{{- step('The database lets nobody in', fleet.database, ['dkim.clean']) }}
{{- stopped() }}
{%- endif %}
