{#- Removal of the beacon from the minion's configuration and from a running minion. #}
{%- from 'dkim/map.jinja' import dkim with context %}

{%- if salt['file.file_exists'](dkim.monitoring.beacon_file) %}

The configuration of the minion has no beacon dkim_health:
  file.absent:
    - name: {{ dkim.monitoring.beacon_file | json }}

The running minion has no beacon dkim_health:
  module.run:
    - dkim_sls.notify_minion: []
    - onchanges:
      - file: The configuration of the minion has no beacon dkim_health
{%- endif %}
