{#- Postfix itself: installed where it is not, running, restarted when something asks for it. #}
{%- from 'dkim/map.jinja' import lookup with context %}

include:
  - dkim.check

Postfix is installed:
  pkg.installed:
    - name: {{ lookup.postfix_package | json }}
    - require:
      - sls: dkim.check

Postfix runs:
  service.running:
    - name: {{ lookup.postfix_service | json }}
    - enable: true
    - require:
      - pkg: Postfix is installed
