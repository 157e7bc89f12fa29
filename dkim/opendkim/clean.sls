{#-
  OpenDKIM stopped, and its configuration removed: the files that the formula wrote, known by their
  first line, whatever the pillar says now. The packages stay; docs/remove.md says how to restore
  their configuration.
#}
{%- from 'dkim/map.jinja' import dkim, lookup with context %}
{%- set services = (dkim.installed | map(attribute='service') | list) + [lookup.opendkim_service] %}

{%- for service in services | unique %}
{%- set watchdog = service ~ '-watchdog' %}
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
{%- endfor %}

{%- for daemon in dkim.installed %}

{{ daemon.service }} is stopped:
  dkim_service.dead:
    - name: {{ daemon.service | json }}

{%- for file in daemon.files %}
{%- set directory = salt['file.dirname'](file) %}
{#- Drop-ins that the formula does not manage stay, with their directory. #}
{%- set alone = directory.endswith('.service.d')
    and not salt['file.readdir'](directory) | difference(['.', '..', 'dkim-formula.conf']) %}
{%- set gone = directory if alone else file %}

{{ gone }} is gone:
  file.absent:
    - name: {{ gone | json }}
    - require:
      - dkim_service: {{ daemon.service }} is stopped
{%- endfor %}
{%- endfor %}

{%- for directory in dkim.installed | map(attribute='directories') | sum(start=[]) | unique %}

{{ directory }} has no socket of OpenDKIM:
  file.absent:
    - name: {{ directory | json }}
    - require:
      {%- for daemon in dkim.installed %}
      - dkim_service: {{ daemon.service }} is stopped
      {%- endfor %}
{%- endfor %}

OpenDKIM's password file is gone:
  file.absent:
    - name: {{ dkim.password_file | json }}

OpenDKIM's file for a server elsewhere is gone:
  file.absent:
    - name: {{ dkim.service_file.path | json }}

{%- if dkim.installed and salt['group.info'](lookup.opendkim_user) %}

Postfix's account can't use OpenDKIM's socket:
  group.present:
    - name: {{ lookup.opendkim_user | json }}
    - delusers: {{ [lookup.postfix_user] | json }}
{%- endif %}
