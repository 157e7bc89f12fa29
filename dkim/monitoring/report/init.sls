{#- The page of dkim.report, for a browser, and the timer that writes the page. #}
{%- from 'dkim/map.jinja' import dkim with context %}
{%- from 'dkim/unattended/job.jinja' import present with context %}

include:
  - dkim.check

{{- present(
  dkim, 'report', 'report', 'Page about DKIM signing', 'man:opendkim(8)',
  dkim.monitoring.report, 1, dkim.monitoring.report_every, 'dkim.report ' ~ dkim.monitoring.report) }}

{%- for file in dkim.monitoring.report_left_over %}

The page {{ file }} is absent:
  file.absent:
    - name: {{ file | json }}
    - order: last
    - require:
      - sls: dkim.check
{%- endfor %}
