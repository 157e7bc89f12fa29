{#-
  Roll-out to the whole fleet, run on the master: salt-run state.orchestrate
  dkim.orchestrate.rollout. All hosts are checked first. Then come database, standby, keys and DNS,
  then the mail hosts one at a time, each with a self-test before the next. Last, roles of former
  settings are removed, which the mail hosts used until then.
#}
{%- from 'dkim/orchestrate/steps.jinja' import fleet, refused, step, stopped with context %}

{%- if fleet.problems %}
{{- refused() }}
{%- else %}
{{- step("Every host's settings are valid", fleet.all, ['dkim.check']) }}
{{- step('The database holds DKIM keys', fleet.database, ['dkim.database']) }}
{%- if fleet.standby %}
{{- step('The mail hosts can log in to the standby', fleet.standby, ['dkim.database']) }}
{%- endif %}
{{- step('Every domain has its keys', fleet.database, ['dkim.keys', 'dkim.rotation', 'dkim.monitoring']) }}
{{- step('DNS has the records', fleet.publisher, ['dkim.dns']) }}
{%- for host in fleet.mail %}
{{- step(host ~ ' has the settings', [host], ['dkim.mail']) }}
{{- step(host ~ ' signs', [host], ['dkim.selftest']) }}
{%- endfor %}
{{- step('The database has no role of former settings', fleet.database, ['dkim.database.former']) }}
{%- if fleet.standby %}
{{- step('The standby has no login of former settings', fleet.standby, ['dkim.database.former']) }}
{%- endif %}
{{- stopped() }}
{%- endif %}
