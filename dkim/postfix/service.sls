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
  dkim_service.running:
    - name: {{ lookup.postfix_service | json }}
    {#- What it waits for would else be drawn before OpenDKIM (dkim.postfix). #}
    - order: 20001
    - require:
      - pkg: Postfix is installed
