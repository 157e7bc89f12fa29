{#- Removal of the timer and of the page, which would show an old state forever. #}
{%- from 'dkim/map.jinja' import dkim with context %}
{%- from 'dkim/unattended/job.jinja' import absent with context %}

{{- absent('report', 'report') }}

{%- for file in (dkim.monitoring.report_left_over + [dkim.monitoring.report]) | select | unique %}

The page {{ file }} is absent:
  file.absent:
    - name: {{ file | json }}
{%- endfor %}
