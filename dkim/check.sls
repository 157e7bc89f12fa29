{#-
  Everything that could stop the run, found before the first change and shown at once. Every other
  SLS of the formula requires this one.
#}
{#- What dkim.monitoring and dkim.rotation take away: dkim.clean includes these too, and there they require no check. #}
{%- set shared = ['dkim.monitoring.beacon.clean', 'dkim.monitoring.metrics.clean', 'dkim.monitoring.report.clean', 'dkim.rotation.clean'] %}
include:
  - dkim.python

The DKIM settings are sound:
  dkim.checked:
    - require_in:
      - sls: dkim.python
      {%- for sls in shared %}
      - sls: {{ sls }}
      {%- endfor %}

{#- Without the driver the first look saw the pillar alone. #}
The DKIM settings fit the database:
  dkim.checked:
    {#- By its ID: an SLS that includes this one would mean this very state too. #}
    - require:
      - Salt's Python has the PostgreSQL driver
    - onchanges:
      - Salt's Python has the PostgreSQL driver
    - require_in:
      {%- for sls in shared %}
      - sls: {{ sls }}
      {%- endfor %}
