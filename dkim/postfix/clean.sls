{#- Removal of the formula's milters from Postfix; other milters stay. #}
{%- from 'dkim/map.jinja' import dkim, lookup with context %}
{#- Also the present sockets of this machine's daemons, whatever the pillar says now. #}
{%- set milters = (dkim.daemons + dkim.unused_daemons) | map(attribute='milter') | list %}
{%- for daemon in dkim.installed %}
  {%- do milters.extend(daemon.milters) %}
{%- endfor %}

Postfix does not use OpenDKIM:
  dkim_postfix.milters_absent:
    - absent: {{ milters | unique | list | json }}
    - moved_from: {{ dkim.moved_from | json }}

{%- if salt['file.file_exists']('/usr/sbin/postconf') %}

Postfix runs without OpenDKIM:
  dkim_service.running:
    - name: {{ lookup.postfix_service | json }}
    {#- A restart would refuse clients for a short time. #}
    - reload: true
    - watch:
      - dkim_postfix: Postfix does not use OpenDKIM
{%- endif %}
