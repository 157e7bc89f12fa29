{#- opendkim.conf of each daemon, and what its login to PostgreSQL needs besides. #}
{%- from 'dkim/map.jinja' import dkim, lookup with context %}

include:
  - dkim.check
  - dkim.opendkim.package

{%- if not dkim.database.local %}

{#- A daemon that signs must not be restarted into settings that the database refuses. Not part of
    dkim.check: on a first roll-out the database host has yet to make the role. #}
OpenDKIM's role can log in:
  dkim_opendkim.login_accepted:
    - require:
      - sls: dkim.check
      - pkg: OpenDKIM is installed
    - require_in:
      - dkim_opendkim: OpenDKIM takes its settings
{%- endif %}

{#- dkim.check asked it already, except where this very run installed it. #}
OpenDKIM takes its settings:
  dkim_opendkim.configuration_accepted:
    - require:
      - pkg: OpenDKIM is installed

{%- if dkim.database.reader_auth == 'password' %}

OpenDKIM's database password is for the daemon alone:
  dkim_opendkim.password_file_present:
    - name: {{ dkim.password_file | json }}
    - user: {{ lookup.opendkim_user | json }}
    - require:
      - dkim_opendkim: OpenDKIM takes its settings
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
      - dkim_opendkim: OpenDKIM takes its settings
{%- endif %}

{%- for daemon in dkim.daemons %}
{%- if daemon.kept_as %}

{#- Made by hand: what is in it may be wanted again. #}
{{ daemon.config_file }} is kept:
  dkim_opendkim.configuration_kept:
    - name: {{ daemon.config_file | json }}
    - copy: {{ daemon.kept_as | json }}
    - require:
      - sls: dkim.check
    - require_in:
      - file: {{ daemon.config_file }} is closed to the world
{%- endif %}

{#- First closed, then filled: what stands in it is nobody's business but the daemon's. #}
{{ daemon.config_file }} is closed to the world:
  file.managed:
    - name: {{ daemon.config_file | json }}
    - replace: false
    - user: root
    - group: {{ lookup.opendkim_user | json }}
    - mode: '0440'
    - require:
      - dkim_opendkim: OpenDKIM takes its settings

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
    {#- A file made by hand may hold a password, and a diff would show it. #}
    - show_changes: false
    - require:
      - file: {{ daemon.config_file }} is closed to the world
      - dkim_opendkim: OpenDKIM takes its settings
{%- endfor %}
