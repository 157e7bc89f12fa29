{#- A file of metrics in the directory that node_exporter reads, and the timer that writes the file. #}
{%- from 'dkim/map.jinja' import dkim with context %}
{%- from 'dkim/unattended/job.jinja' import present with context %}

include:
  - dkim.check

{{- present(
  dkim, 'metrics', 'metrics', 'Metrics of DKIM signing',
  'https://prometheus.io/docs/instrumenting/exposition_formats/',
  dkim.monitoring.textfile, 1, dkim.monitoring.textfile_every,
  'dkim.write_metrics ' ~ dkim.monitoring.textfile) }}

{%- for file in dkim.monitoring.left_over %}

The file {{ file }} is absent:
  file.absent:
    - name: {{ file | json }}
    - order: last
    - require:
      - sls: dkim.check
{%- endfor %}
