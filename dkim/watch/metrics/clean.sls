{#- No timer, and no file of metrics that would show a last state for ever. #}
{%- from 'dkim/map.jinja' import dkim with context %}

{%- if salt['file.file_exists']('/etc/systemd/system/dkim-watch.timer') %}

The metrics are written no more:
  service.dead:
    - name: dkim-watch.timer
    - enable: false

{%- for unit in ['dkim-watch.service', 'dkim-watch.timer'] %}

The unit {{ unit }} is gone:
  file.absent:
    - name: /etc/systemd/system/{{ unit }}
    - require:
      - service: The metrics are written no more
    - onchanges_in:
      - module: systemd forgets how the metrics were written
{%- endfor %}

systemd forgets how the metrics were written:
  module.run:
    - service.systemctl_reload: []
{%- endif %}

{%- for file in (dkim.watch.left_over + [dkim.watch.textfile]) | select | unique %}

{{ file }} is written no more:
  file.absent:
    - name: {{ file | json }}
{%- endfor %}
