{#- Removal of the timer that calls the rotation. Keys stay in their present states. #}
{%- from 'dkim/unattended/job.jinja' import absent with context %}

{{- absent('rotation', 'rotations') }}
