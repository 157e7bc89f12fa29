{#-
  Watching, as pillar dkim:watch wants it: the minion's beacon, and a file of metrics for Prometheus'
  node_exporter. What is wanted no more is taken away.
#}
{%- from 'dkim/map.jinja' import dkim with context %}

include:
  - dkim.check
  - dkim.watch.beacon{{ '' if dkim.watch.beacon else '.clean' }}
  - dkim.watch.metrics{{ '' if dkim.watch.textfile else '.clean' }}
