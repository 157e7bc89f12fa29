{#- No timer calls the rotation any more; keys stay in the states that they are in. #}
{%- from 'dkim/unattended/job.jinja' import absent with context %}

{{- absent('rotation', 'rotations') }}
