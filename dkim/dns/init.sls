{#- The records: published if the pillar sets a method, and shown at the end of the run. #}
{%- from 'dkim/map.jinja' import dkim with context %}

include:
  - dkim.check

{%- if dkim.dns.is_published %}

The records are published:
  dkim.records_published:
    - require:
      - sls: dkim.check
{%- endif %}

The records to publish:
  dkim.records_shown:
    - require:
      - sls: dkim.check
    - order: last
