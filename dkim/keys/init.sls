{#- A key for every domain of the pillar: one state for any number of them. #}
include:
  - dkim.check

Every domain has its keys:
  dkim.keys_managed:
    - require:
      - sls: dkim.check
