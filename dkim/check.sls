{#-
  A check for everything that could stop the run, before the first change; all problems are shown at
  once. Every other SLS of the formula requires this one.
#}
{#- Removals that dkim.monitoring and dkim.rotation include. dkim.clean includes them too, without
    a check. #}
{%- set shared = ['dkim.monitoring.beacon.clean', 'dkim.monitoring.metrics.clean', 'dkim.monitoring.report.clean', 'dkim.rotation.clean'] %}
include:
  - dkim.python

The DKIM settings are valid:
  dkim.checked:
    - require_in:
      - sls: dkim.python
      {%- for sls in shared %}
      - sls: {{ sls }}
      {%- endfor %}

{#- Without the driver, the first check covers only the pillar. #}
The DKIM settings fit the database:
  dkim.checked:
    {#- Required by ID: a requisite on the SLS dkim.python would include this very state. #}
    - require:
      - Salt's Python has the PostgreSQL driver
    - onchanges:
      - Salt's Python has the PostgreSQL driver
    - require_in:
      {%- for sls in shared %}
      - sls: {{ sls }}
      {%- endfor %}
