{#- No beacon: not in the minion's configuration, nor in a minion that runs. #}
{%- from 'dkim/map.jinja' import dkim with context %}

{%- if salt['file.file_exists'](dkim.watch.beacon_file) %}

The minion is to watch DKIM no more:
  file.absent:
    - name: {{ dkim.watch.beacon_file | json }}

The minion that runs is told to watch DKIM no more:
  module.run:
    - dkim.tell_minion: []
    - onchanges:
      - file: The minion is to watch DKIM no more
{%- endif %}
