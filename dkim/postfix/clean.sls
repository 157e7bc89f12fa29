{#- Postfix does without OpenDKIM; other people's milters stay. #}
{%- from 'dkim/map.jinja' import dkim, lookup with context %}

Postfix does without OpenDKIM:
  dkim_postfix.milters_absent:
    - absent: {{ (dkim.daemons + dkim.unused_daemons) | map(attribute='milter') | list | json }}

{%- if salt['file.file_exists']('/usr/sbin/postconf') %}

Postfix runs without OpenDKIM:
  dkim_service.running:
    - name: {{ lookup.postfix_service | json }}
    {#- A restart would turn clients away. #}
    - reload: true
    - watch:
      - dkim_postfix: Postfix does without OpenDKIM
{%- endif %}
