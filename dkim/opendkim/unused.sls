{#- Removal of what the settings no longer need: a password, files, the second daemon. #}
{%- from 'dkim/map.jinja' import dkim with context %}

include:
  - dkim.check
  - dkim.opendkim.service
{%- if dkim.database.local and not dkim.database.reader_has_password %}

{#- A manual set-up may have given the role a password; a daemon that logs in by peer needs none. #}
OpenDKIM's role has no password:
  dkim_postgres.password_absent:
    - name: {{ dkim.database.reader | json }}
    - require:
      {%- for daemon in dkim.daemons %}
      - dkim_opendkim: {{ daemon.service }} runs with these settings
      {%- endfor %}
{%- endif %}

{%- if dkim.database.reader_auth != 'password' %}

OpenDKIM's password file is gone:
  file.absent:
    - name: {{ dkim.password_file | json }}
    - require:
      {%- for daemon in dkim.daemons %}
      - dkim_opendkim: {{ daemon.service }} runs with these settings
      {%- endfor %}
{%- endif %}

{%- if not dkim.service_file.needed %}

OpenDKIM's file for a server elsewhere is gone:
  file.absent:
    - name: {{ dkim.service_file.path | json }}
    - require:
      {%- for daemon in dkim.daemons %}
      - dkim_opendkim: {{ daemon.service }} runs with these settings
      {%- endfor %}
{%- endif %}

{%- for daemon in dkim.unused_daemons if salt['file.file_exists'](daemon.config_file) %}

{#- Last, because main.cf no longer names the daemon's socket then. #}
{{ daemon.service }} is stopped:
  dkim_service.dead:
    - name: {{ daemon.service | json }}
    - order: last
    - require:
      - sls: dkim.check
      {%- for needed in dkim.daemons %}
      - dkim_opendkim: {{ needed.service }} runs with these settings
      {%- endfor %}

{%- for file in ['/etc/systemd/system/' ~ daemon.service ~ '.service', daemon.socket, daemon.config_file] %}

{{ file }} is gone:
  file.absent:
    - name: {{ file | json }}
    - order: last
    - require:
      - dkim_service: {{ daemon.service }} is stopped
{%- endfor %}
{%- endfor %}
