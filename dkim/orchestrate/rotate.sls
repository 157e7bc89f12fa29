{#-
  Rotations of the fleet, from the master: salt-run state.orchestrate dkim.orchestrate.rotate. Those
  that are due begin, those under way go on as far as DNS and time allow, and each mail host signs
  with what the database has then. Run it again at any time.
#}
{%- from 'dkim/orchestrate/steps.jinja' import fleet, refused, step, stopped with context %}

{%- if fleet.problems %}
{{- refused() }}
{%- else %}
{{- step("Every host's settings are sound", fleet.all, ['dkim.check']) }}
{%- for host in fleet.mail %}
{{- step(host ~ ' signs before', [host], ['dkim.selftest']) }}
{%- endfor %}
{{- step('Rotations are as far as they can go', fleet.database, ['dkim.rotation']) }}
{{- step('DNS has the records', fleet.publisher, ['dkim.dns']) }}
{%- for host in fleet.mail %}
{{- step(host ~ ' signs', [host], ['dkim.selftest']) }}
{%- endfor %}
{{- stopped() }}
{%- endif %}
