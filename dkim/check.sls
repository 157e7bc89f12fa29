{#-
  Everything that could stop the run, found before the first change and shown at once. Every other
  SLS of the formula requires this one.
#}
include:
  - dkim.python

The DKIM settings are sound:
  dkim.checked:
    - require_in:
      - sls: dkim.python

{#- Without the driver the first look saw the pillar alone. #}
The DKIM settings fit the database:
  dkim.checked:
    - require:
      - sls: dkim.python
    - onchanges:
      - sls: dkim.python
