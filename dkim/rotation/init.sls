{#-
  Rotations go on at each run, as far as DNS and time allow; those that are due begin where the
  pillar lets them begin by themselves. Salt's schedule does the same between the runs, where wanted.
#}
{%- from 'dkim/map.jinja' import dkim with context %}
{%- set job = 'dkim_rotation' %}

include:
  - dkim.check

{%- if dkim.rotation.automatic %}

Keys are rotated when they are due:
  dkim.rotated:
    - require:
      - sls: dkim.check
{%- else %}

Rotations under way go on:
  dkim.rotations_advanced:
    - require:
      - sls: dkim.check
{%- endif %}

{%- if dkim.rotation.schedule %}

Rotations go on between the runs:
  dkim_schedule.present:
    - name: {{ job | json }}
    - calls: {{ 'dkim.rotate_due' if dkim.rotation.automatic else 'dkim.advance' }}
    - every: {{ dkim.rotation.schedule | json }}
    - require:
      - sls: dkim.check
{%- else %}

Rotations wait for the next run:
  dkim_schedule.absent:
    - name: {{ job | json }}
    - require:
      - sls: dkim.check
{%- endif %}
