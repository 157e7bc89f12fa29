{#- opendkim.conf of each daemon, and the files that its login to PostgreSQL needs. #}
{%- from 'dkim/map.jinja' import dkim, lookup with context %}

include:
  - dkim.check
  - dkim.opendkim.package

{%- if not dkim.database.local %}

{#- A daemon that signs must not be restarted with settings that the database refuses. This is not
    part of dkim.check, because on a first roll-out the database host has not created the role yet.
#}
OpenDKIM's role can log in:
  dkim_opendkim.login_accepted:
    - require:
      - sls: dkim.check
      - pkg: OpenDKIM is installed
    - require_in:
      - dkim_opendkim: OpenDKIM accepts its settings
{%- endif %}

{#- dkim.check does the same, unless this run installs OpenDKIM. #}
OpenDKIM accepts its settings:
  dkim_opendkim.configuration_accepted:
    - require:
      - pkg: OpenDKIM is installed

{%- if dkim.database.reader_auth == 'password' %}

OpenDKIM's database password is for the daemon alone:
  dkim_opendkim.password_file_present:
    - name: {{ dkim.password_file | json }}
    - user: {{ lookup.opendkim_user | json }}
    - require:
      - dkim_opendkim: OpenDKIM accepts its settings
{%- endif %}

{%- if dkim.service_file.needed %}

OpenDKIM's connections notice a server that is gone:
  file.managed:
    - name: {{ dkim.service_file.path | json }}
    - source: salt://dkim/opendkim/files/pgservice.conf.jinja
    - template: jinja
    - context:
        section: {{ dkim.service_file.section | json }}
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - dkim_opendkim: OpenDKIM accepts its settings
{%- endif %}

{%- for daemon in dkim.daemons %}
{%- if daemon.kept_as %}

{#- A file made by hand: its content may be needed again. #}
{{ daemon.config_file }} has a copy:
  dkim_opendkim.configuration_kept:
    - name: {{ daemon.config_file | json }}
    - copy: {{ daemon.kept_as | json }}
    - require:
      - sls: dkim.check
    - require_in:
      - file: {{ daemon.config_file }} is readable only by root and the daemon
{%- endif %}

{#- The file gets its mode before its content, which only the daemon may read. #}
{{ daemon.config_file }} is readable only by root and the daemon:
  file.managed:
    - name: {{ daemon.config_file | json }}
    - replace: false
    - user: root
    - group: {{ lookup.opendkim_user | json }}
    - mode: '0440'
    - require:
      - dkim_opendkim: OpenDKIM accepts its settings

{{ daemon.config_file }} has the settings:
  file.managed:
    - name: {{ daemon.config_file | json }}
    - source: salt://dkim/opendkim/files/opendkim.conf.jinja
    - template: jinja
    - user: root
    - group: {{ lookup.opendkim_user | json }}
    - mode: '0440'
    - context:
        options: {{ daemon.options | json }}
    {#- A file made by hand may hold a password, which a diff would show. #}
    - show_changes: false
    - require:
      - file: {{ daemon.config_file }} is readable only by root and the daemon
      - dkim_opendkim: OpenDKIM accepts its settings
{%- endfor %}
