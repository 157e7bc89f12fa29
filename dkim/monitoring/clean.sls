{#- Removal of beacon, metrics and report. The measurements in the minion's cache stay. #}
include:
  - dkim.monitoring.beacon.clean
  - dkim.monitoring.metrics.clean
  - dkim.monitoring.report.clean
