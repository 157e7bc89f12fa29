{#- Removal of the timer and of the file of metrics, which would show an old state forever. #}
{%- from 'dkim/map.jinja' import dkim with context %}
{%- from 'dkim/unattended/job.jinja' import absent with context %}

{{- absent('metrics', 'metrics') }}

{%- for file in (dkim.monitoring.left_over + [dkim.monitoring.textfile]) | select | unique %}

The file {{ file }} is absent:
  file.absent:
    - name: {{ file | json }}
{%- endfor %}
