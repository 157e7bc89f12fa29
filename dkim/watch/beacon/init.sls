{#-
  The beacon dkim_watch, in a file of the minion's configuration, from which it comes back after a
  restart. A minion that runs is told besides: it does not read its files again.
#}
{%- from 'dkim/map.jinja' import dkim with context %}
{%- set beacon = [{'interval': dkim.watch.every}] %}

include:
  - dkim.check

The minion is to watch DKIM:
  file.managed:
    - name: {{ dkim.watch.beacon_file | json }}
    - contents:
      - '# Managed by the dkim formula: changes made here are lost at the next highstate.'
      - {{ {'beacons': dict(dkim_watch=beacon)} | json | json }}
    - makedirs: true
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - sls: dkim.check

The minion that runs is told to watch DKIM:
  module.run:
    - dkim.tell_minion:
      - interval: {{ dkim.watch.every }}
    - onchanges:
      - file: The minion is to watch DKIM
