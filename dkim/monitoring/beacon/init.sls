{#-
  The beacon dkim_health, in a file of the minion's configuration, which the minion reads at its
  start. A running minion is notified too, because it does not read the file again.
#}
{%- from 'dkim/map.jinja' import dkim with context %}
{%- set beacon = [{'interval': dkim.monitoring.every}] %}

include:
  - dkim.check

The configuration of the minion has the beacon dkim_health:
  file.managed:
    - name: {{ dkim.monitoring.beacon_file | json }}
    - contents:
      - '# Managed by the dkim formula: changes made here are lost at the next highstate.'
      - {{ {'beacons': dict(dkim_health=beacon)} | json | json }}
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
