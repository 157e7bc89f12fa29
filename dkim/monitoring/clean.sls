{#- No beacon, no metrics, no report; the measurements in the minion's cache stay. #}
include:
  - dkim.monitoring.beacon.clean
  - dkim.monitoring.metrics.clean
  - dkim.monitoring.report.clean
