{#-
  Rotations of the fleet, run on the master: salt-run state.orchestrate dkim.orchestrate.rotate. Due
  rotations begin, rotations in progress move as far as DNS and time allow, and each mail host signs
  with the keys that are active then. Run it again at any time.
#}
{%- from 'dkim/orchestrate/steps.jinja' import fleet, refused, step, stopped with context %}

{%- if fleet.problems %}
{{- refused() }}
{%- else %}
{{- step("Every host's settings are valid", fleet.all, ['dkim.check']) }}
{%- for host in fleet.mail %}
{{- step(host ~ ' signs before', [host], ['dkim.selftest']) }}
{%- endfor %}
{{- step('Rotations in progress are advanced', fleet.database, ['dkim.rotation']) }}
{{- step('DNS has the records', fleet.publisher, ['dkim.dns']) }}
{%- if fleet.publisher != fleet.database %}
{#- The database host observes DNS before the publisher's step, and here for the first time with the
    new records: a key signs when its record has been visible for long enough. #}
{{- step('The published records are observed', fleet.database, ['dkim.rotation']) }}
{%- endif %}
{%- for host in fleet.mail %}
{{- step(host ~ ' signs', [host], ['dkim.selftest']) }}
{%- endfor %}
{{- stopped() }}
{%- endif %}
