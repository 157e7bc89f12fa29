{#- Postfix itself: installed, running, and restarted when another state requires that. #}
{%- from 'dkim/map.jinja' import lookup with context %}

include:
  - dkim.check

Postfix is installed:
  pkg.installed:
    - name: {{ lookup.postfix_package | json }}
    - require:
      - sls: dkim.check

Postfix runs:
  dkim_service.running:
    - name: {{ lookup.postfix_service | json }}
    {#- Without an order, the states that it watches would run before OpenDKIM (dkim.postfix). #}
    - order: 20001
    - require:
      - pkg: Postfix is installed
