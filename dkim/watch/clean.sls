{#- Nothing watches any more; the facts in the minion's cache stay. #}
include:
  - dkim.watch.beacon.clean
  - dkim.watch.metrics.clean
