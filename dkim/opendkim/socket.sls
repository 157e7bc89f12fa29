{#- The place of OpenDKIM's sockets in Postfix's chroot, and who may use them. #}
{%- from 'dkim/map.jinja' import lookup with context %}
{%- set socket_directory = salt['file.join'](lookup.postfix_chroot, lookup.socket_directory) %}

include:
  - dkim.opendkim.package
  - dkim.postfix.service

Postfix may use OpenDKIM's socket:
  group.present:
    - name: {{ lookup.opendkim_user | json }}
    - addusers: {{ [lookup.postfix_user] | json }}
    - require:
      - pkg: OpenDKIM is installed
      - pkg: Postfix is installed
    - watch_in:
      - dkim_service: Postfix runs

{#- Postfix's package makes it so: a run before that has nothing to announce. Asked here and not by
    an onlyif, for which Salt loads every state module there is: 0.7 s of each run (measured). #}
{%- if salt['file.directory_exists'](lookup.postfix_chroot) %}

{#- As Postfix's own list of permissions has it (postfix-files): who can't enter, finds no socket. #}
Postfix's processes may enter its chroot:
  file.directory:
    - name: {{ lookup.postfix_chroot | json }}
    - user: root
    - mode: '0755'
    - require:
      - pkg: Postfix is installed
{%- endif %}

OpenDKIM's socket has a place in Postfix's chroot:
  file.directory:
    - name: {{ socket_directory | json }}
    - user: {{ lookup.opendkim_user | json }}
    - group: {{ lookup.postfix_user | json }}
    - mode: '0750'
    - require:
      - pkg: OpenDKIM is installed
      - pkg: Postfix is installed
