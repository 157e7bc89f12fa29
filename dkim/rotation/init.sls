{#-
  Rotations go on at each run, as far as DNS and time allow; those that are due begin where the
  pillar lets them begin by themselves. A timer of systemd does the same between the runs, where
  wanted.
#}
{%- from 'dkim/map.jinja' import dkim with context %}
{%- from 'dkim/unattended/job.jinja' import present with context %}
{%- set schedule = dkim.rotation.schedule %}

include:
  - dkim.check
{%- if not schedule %}
  - dkim.rotation.clean
{%- endif %}

{%- if dkim.rotation.automatic %}

Keys are rotated when they are due:
  dkim.rotated:
    {#- Behind Postfix (dkim.postfix.service): a mail about records to publish is signed. #}
    - order: 20002
    - require:
      - sls: dkim.check
{%- else %}

Rotations under way go on:
  dkim.rotations_advanced:
    {#- Behind Postfix (dkim.postfix.service): a mail about records to publish is signed. #}
    - order: 20002
    - require:
      - sls: dkim.check
{%- endif %}

{%- if schedule %}
{#- The first run after a boot or a change comes soon: a machine may not be up for a whole turn. #}
{{- present(
  dkim, 'rotation', 'rotations', 'Due rotations of DKIM keys', 'man:opendkim(8)',
  '', [schedule, 300] | min, schedule, dkim.rotation.calls) }}
{%- endif %}
