{#-
  The whole fleet, from the master: salt-run state.orchestrate dkim.orchestrate.rollout. All hosts
  are checked first; then database, standby, keys and DNS; then the mail hosts one at a time, each
  self-tested before the next.
#}
{%- from 'dkim/orchestrate/steps.jinja' import fleet, refused, step, stopped with context %}

{%- if fleet.problems %}
{{- refused() }}
{%- else %}
{{- step("Every host's settings are sound", fleet.all, ['dkim.check']) }}
{{- step('The database holds DKIM keys', fleet.database, ['dkim.database']) }}
{%- if fleet.standby %}
{{- step('The standby lets the mail hosts in', fleet.standby, ['dkim.database']) }}
{%- endif %}
{{- step('Every domain has its keys', fleet.database, ['dkim.keys', 'dkim.rotation', 'dkim.monitoring']) }}
{{- step('DNS has the records', fleet.publisher, ['dkim.dns']) }}
{%- for host in fleet.mail %}
{{- step(host ~ ' has the settings', [host], ['dkim.mail']) }}
{{- step(host ~ ' signs', [host], ['dkim.selftest']) }}
{%- endfor %}
{{- stopped() }}
{%- endif %}
