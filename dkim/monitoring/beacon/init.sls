{#-
  The beacon dkim_health, in a file of the minion's configuration, which the minion reads at its
  start. A running minion is notified too, because it does not read the file again.
#}
{%- from 'dkim/map.jinja' import dkim with context %}

include:
  - dkim.check

The configuration of the minion has the beacon dkim_health:
  file.managed:
    - name: {{ dkim.monitoring.beacon_file | json }}
    - source: salt://dkim/monitoring/files/dkim-health.conf.jinja
    - template: jinja
    - context:
        every: {{ dkim.monitoring.every }}
    - makedirs: true
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - sls: dkim.check

The running minion has the beacon dkim_health:
  module.run:
    - dkim_sls.notify_minion:
      - interval: {{ dkim.monitoring.every }}
    - onchanges:
      - file: The configuration of the minion has the beacon dkim_health
