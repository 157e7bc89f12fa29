{#-
  Each run moves the rotations in progress as far as DNS and time allow. With rotation:automatic,
  due rotations begin. With rotation:schedule, a systemd timer does the same between the runs.
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
    {#- After Postfix (dkim.postfix.service), so that a mail about records to publish is signed. #}
    - order: 20002
    - require:
      - sls: dkim.check
{%- else %}

Rotations in progress are advanced:
  dkim.rotations_advanced:
    {#- After Postfix (dkim.postfix.service), so that a mail about records to publish is signed. #}
    - order: 20002
    - require:
      - sls: dkim.check
{%- endif %}

{%- if schedule %}
{#- The first run comes soon after a boot or a change: a machine may be shut down before the end of
    an interval. #}
{{- present(
  dkim, 'rotation', 'rotations', 'Due rotations of DKIM keys', 'man:opendkim(8)',
  '', [schedule, 300] | min, schedule, dkim.rotation.calls) }}
{%- endif %}
