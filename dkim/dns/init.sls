{#- The records to publish, on the screen at the end of the run. #}
include:
  - dkim.check

The records to publish:
  dkim.records_shown:
    - require:
      - sls: dkim.check
    - order: last
