{#-
  A file of metrics in the directory that node_exporter reads, written by a timer of systemd: a
  minion that is down must not stop the metrics that would show it.
#}
{%- from 'dkim/map.jinja' import dkim, systemd with context %}

include:
  - dkim.check

The metrics have a directory:
  file.directory:
    - name: {{ salt['file.dirname'](dkim.watch.textfile) | json }}
    - makedirs: true
    - require:
      - sls: dkim.check

{%- if systemd %}
{%- for unit in ['dkim-watch.service', 'dkim-watch.timer'] %}

The unit {{ unit }} is as it should be:
  file.managed:
    - name: /etc/systemd/system/{{ unit }}
    - source: salt://dkim/watch/metrics/files/{{ unit }}.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - context:
        command: {{ dkim.watch.command | json }}
        textfile: {{ dkim.watch.textfile | json }}
        every: {{ dkim.watch.textfile_every }}
    - require:
      - file: The metrics have a directory
    - onchanges_in:
      - module: systemd knows how the metrics are written
    - watch_in:
      - service: The metrics are written
{%- endfor %}

systemd knows how the metrics are written:
  module.run:
    - service.systemctl_reload: []

The metrics are written:
  service.running:
    - name: dkim-watch.timer
    - enable: true
    - require:
      - module: systemd knows how the metrics are written
{%- else %}

The metrics are to be written by cron or the like:
  test.show_notification:
    - text: {{ (dkim.watch.command ~ ' dkim.write_metrics ' ~ dkim.watch.textfile) | json }}
    - require:
      - sls: dkim.check
{%- endif %}

{%- for file in dkim.watch.left_over %}

{{ file }} is written no more:
  file.absent:
    - name: {{ file | json }}
    - order: last
    - require:
      - sls: dkim.check
{%- endfor %}
