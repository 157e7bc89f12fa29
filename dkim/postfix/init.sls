{#- Postfix passes mail through OpenDKIM, after the milters that it already has. #}
{%- from 'dkim/map.jinja' import dkim with context %}

include:
  - dkim.check
  - dkim.postfix.service

Postfix has OpenDKIM sign:
  dkim_postfix.milters_present:
    - present: {{ dkim.daemons | map(attribute='milter') | list | json }}
    - absent: {{ dkim.unused_daemons | map(attribute='milter') | list | json }}
    - sockets: {{ dkim.daemons | map(attribute='socket') | list | json }}
    - moved_from: {{ dkim.moved_from | json }}
    - default_action: {{ dkim.postfix.milter_default_action | json }}
    - unsigned_services: {{ dkim.postfix.unsigned_services | json }}
    - require:
      - sls: dkim.check
      - pkg: Postfix is installed
    {#- After dkim.opendkim, if the same run applies it (Salt's own order begins at 10000). #}
    - order: 20000
    - watch_in:
      - dkim_service: Postfix runs
