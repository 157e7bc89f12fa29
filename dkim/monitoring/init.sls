{#-
  Monitoring by pillar dkim:monitoring: the beacon of the minion, a page, and a file of metrics for
  the node_exporter of Prometheus. A part that is switched off is removed.
#}
{%- from 'dkim/map.jinja' import dkim with context %}

include:
  - dkim.check
  - dkim.monitoring.beacon{{ '' if dkim.monitoring.beacon else '.clean' }}
  - dkim.monitoring.metrics{{ '' if dkim.monitoring.textfile else '.clean' }}
  - dkim.monitoring.report{{ '' if dkim.monitoring.report else '.clean' }}
