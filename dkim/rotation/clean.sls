{#- Nothing calls the rotation any more; keys stay in the states that they are in. #}
Rotations are called by nobody:
  dkim_schedule.absent:
    - name: dkim_rotation
