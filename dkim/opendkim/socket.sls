{#- The directory of OpenDKIM's sockets in Postfix's chroot, and the accounts that may use them. #}
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

{#- Postfix's package creates the chroot: a test run before that announces nothing. An onlyif would
    make Salt load every state module, which takes 0.7 s of each run (measured). #}
{%- if salt['file.directory_exists'](lookup.postfix_chroot) %}

{#- The mode of Postfix's own list (postfix-files): a process that can't enter finds no socket. #}
Postfix's processes may enter its chroot:
  file.directory:
    - name: {{ lookup.postfix_chroot | json }}
    - user: root
    - mode: '0755'
    - require:
      - pkg: Postfix is installed
{%- endif %}

The socket directory in Postfix's chroot exists:
  file.directory:
    - name: {{ socket_directory | json }}
    - user: {{ lookup.opendkim_user | json }}
    - group: {{ lookup.postfix_user | json }}
    - mode: '0750'
    - require:
      - pkg: OpenDKIM is installed
      - pkg: Postfix is installed
