{#-
  Stops OpenDKIM and takes its configuration off the machine. The packages stay; see README,
  «Removing», for getting the packaged configuration back.
#}
{%- from 'dkim/map.jinja' import dkim, lookup with context %}
{%- set socket_directory = salt['file.join'](lookup.postfix_chroot, lookup.socket_directory) %}

{%- set watchdog = lookup.opendkim_service ~ '-watchdog' %}
{%- set watchdog_unit = '/etc/systemd/system/' ~ watchdog ~ '.service' %}
{%- if salt['file.file_exists'](watchdog_unit) %}

{{ watchdog }} is stopped:
  dkim_service.dead:
    - name: {{ watchdog | json }}

{%- for file in [watchdog_unit, '/usr/local/lib/' ~ watchdog] %}

{{ file }} is gone:
  file.absent:
    - name: {{ file | json }}
    - require:
      - dkim_service: {{ watchdog }} is stopped
{%- endfor %}
{%- endif %}

{%- for daemon in dkim.daemons + dkim.unused_daemons %}
{%- set main = daemon.service == lookup.opendkim_service %}
{%- if main or salt['file.file_exists'](daemon.config_file) %}

{{ daemon.service }} is stopped:
  dkim_service.dead:
    - name: {{ daemon.service | json }}

{%- set unit = '/etc/systemd/system/' ~ daemon.service ~ '.service' %}
{%- set of_unit = unit %}
{%- if main %}
  {#- Drop-ins of the site's own stay, and their directory with them. #}
  {%- set directory = unit ~ '.d' %}
  {%- set others = [] %}
  {%- if salt['file.directory_exists'](directory) %}
    {%- set others = salt['file.readdir'](directory) | difference(['.', '..', 'dkim-formula.conf']) %}
  {%- endif %}
  {%- set of_unit = directory ~ '/dkim-formula.conf' if others else directory %}
{%- endif %}
{%- for file in [daemon.config_file, of_unit] %}

{{ file }} is gone:
  file.absent:
    - name: {{ file | json }}
    - require:
      - dkim_service: {{ daemon.service }} is stopped
    - require_in:
      - file: OpenDKIM's socket has no place in Postfix's chroot
{%- endfor %}
{%- endif %}
{%- endfor %}

OpenDKIM's socket has no place in Postfix's chroot:
  file.absent:
    - name: {{ socket_directory | json }}

OpenDKIM's password file is gone:
  file.absent:
    - name: {{ dkim.password_file | json }}

OpenDKIM's file for a server elsewhere is gone:
  file.absent:
    - name: {{ dkim.service_file.path | json }}

{%- if salt['group.info'](lookup.opendkim_user) %}

Postfix may use OpenDKIM's socket no more:
  group.present:
    - name: {{ lookup.opendkim_user | json }}
    - delusers: {{ [lookup.postfix_user] | json }}
{%- endif %}
