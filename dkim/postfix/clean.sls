{#- Postfix does without OpenDKIM; other people's milters stay. #}
{%- from 'dkim/map.jinja' import dkim, lookup with context %}
{#- Also where the daemons of this machine really have their sockets, whatever the pillar says. #}
{%- set milters = (dkim.daemons + dkim.unused_daemons) | map(attribute='milter') | list %}
{%- for daemon in dkim.installed %}
  {%- do milters.extend(daemon.milters) %}
{%- endfor %}

Postfix does without OpenDKIM:
  dkim_postfix.milters_absent:
    - absent: {{ milters | unique | list | json }}
    - moved_from: {{ dkim.moved_from | json }}

{%- if salt['file.file_exists']('/usr/sbin/postconf') %}

Postfix runs without OpenDKIM:
  dkim_service.running:
    - name: {{ lookup.postfix_service | json }}
    {#- A restart would turn clients away. #}
    - reload: true
    - watch:
      - dkim_postfix: Postfix does without OpenDKIM
{%- endif %}
