{#-
  OpenDKIM, reading its tables from PostgreSQL, with its socket where Postfix in its chroot finds it.
  A second daemon stands beside it where some domain has an Ed25519 key.
#}
{%- from 'dkim/map.jinja' import dkim, lookup, systemd with context %}
{%- set socket_directory = salt['file.join'](lookup.postfix_chroot, lookup.socket_directory) %}

include:
  - dkim.check
  - dkim.postfix.service

OpenDKIM is installed:
  pkg.installed:
    - pkgs: {{ [lookup.opendkim_package, lookup.opendkim_backend_package] | json }}
    - require:
      - sls: dkim.check

{#- dkim.check asked it already, except where this very run installed it. #}
OpenDKIM takes its settings:
  dkim.configuration_accepted:
    - require:
      - pkg: OpenDKIM is installed

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

{%- if dkim.database.reader_auth == 'password' %}

OpenDKIM's database password is for the daemon alone:
  dkim.password_file_present:
    - name: {{ dkim.password_file | json }}
    - user: {{ lookup.opendkim_user | json }}
    - require:
      - pkg: OpenDKIM is installed
{%- endif %}

{%- if dkim.service_file.text %}

OpenDKIM's connections notice a server that is gone:
  file.managed:
    - name: {{ dkim.service_file.path | json }}
    - contents: {{ dkim.service_file.text | json }}
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - sls: dkim.check
{%- endif %}

{%- for daemon in dkim.daemons %}
{%- set main = daemon.service == lookup.opendkim_service %}
{%- set unit = '/etc/systemd/system/' ~ daemon.service ~ '.service' %}
{%- set unit_file = unit ~ '.d/dkim-formula.conf' if main else unit %}

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
      - pkg: OpenDKIM is installed

{{ daemon.config_file }} has the settings:
  file.managed:
    - name: {{ daemon.config_file | json }}
    - contents: {{ daemon.configuration | json }}
    - user: root
    - group: {{ lookup.opendkim_user | json }}
    - mode: '0440'
    {#- A file made by hand may hold a password, and a diff would show it. #}
    - show_changes: false
    - require:
      - file: {{ daemon.config_file }} is closed to the world
      - dkim: OpenDKIM takes its settings

{%- if systemd %}

{#- A masked unit is a link to nowhere, which a file would be written through. #}
{{ daemon.service }} is not masked:
  service.unmasked:
    - name: {{ daemon.service | json }}
    - require:
      - pkg: OpenDKIM is installed

The unit {{ daemon.service }} fits PostgreSQL and Postfix:
  file.managed:
    - name: {{ unit_file | json }}
    - source: salt://dkim/opendkim/files/service.jinja
    - template: jinja
    - makedirs: true
    - user: root
    - group: root
    - mode: '0644'
    - context:
        main: {{ main | json }}
        algorithm: {{ daemon.algorithm | json }}
        config_file: {{ daemon.config_file | json }}
        user: {{ lookup.opendkim_user | json }}
        local_database: {{ dkim.database.local | json }}
        postgresql_service: {{ lookup.postgresql_service | json }}
        environment: {{ dkim.environment | json }}
        sandbox: {{ dkim.sandbox | json }}
        writes_to: {{ daemon.writes_to | json }}
    - require:
      - service: {{ daemon.service }} is not masked
{%- endif %}

{{ daemon.service }} runs with these settings:
  dkim.opendkim_running:
    - name: {{ daemon.service | json }}
    {%- if systemd %}
    - user: {{ lookup.opendkim_user | json }}
    {%- endif %}
    - socket: {{ daemon.socket | json }}
    - milter: {{ daemon.milter | json }}
    - moved_from: {{ daemon.moved_from | json }}
    - mail_service: {{ lookup.postfix_service | json }}
    - reads:
      - {{ daemon.config_file | json }}
      {%- if systemd %}
      - {{ unit_file | json }}
      {%- endif %}
      {%- if dkim.database.reader_auth == 'password' %}
      - {{ dkim.password_file | json }}
      {%- endif %}
      {%- if dkim.service_file.text %}
      - {{ dkim.service_file.path | json }}
      {%- endif %}
    - watch:
      - file: {{ daemon.config_file }} has the settings
      - file: OpenDKIM's socket has a place in Postfix's chroot
      {%- if systemd %}
      - file: The unit {{ daemon.service }} fits PostgreSQL and Postfix
      {%- endif %}
      {%- if dkim.database.reader_auth == 'password' %}
      - dkim: OpenDKIM's database password is for the daemon alone
      {%- endif %}
      {%- if dkim.service_file.text %}
      - file: OpenDKIM's connections notice a server that is gone
      {%- endif %}

{%- if systemd %}

{{ daemon.service }} starts with the machine:
  service.enabled:
    - name: {{ daemon.service | json }}
    - require:
      - dkim: {{ daemon.service }} runs with these settings
{%- endif %}
{%- endfor %}

{%- if systemd %}
{%- set watchdog = lookup.opendkim_service ~ '-watchdog' %}
{%- set watchdog_library = '/usr/local/lib/' ~ watchdog %}

{#- docs/faults.md, «A look-up cut short», has what it is for. Its account can't read Salt's cache. #}
The program {{ watchdog }} is installed:
  file.recurse:
    - name: {{ watchdog_library ~ '/dkim_formula' }}
    - source: salt://_utils/dkim_formula
    - include_pat: 'E@^(__init__|errors|milter|signer/(__init__|watchdog))\.py$'
    - clean: true
    - user: root
    - group: root
    - dir_mode: '0755'
    - file_mode: '0644'
    - require:
      - pkg: OpenDKIM is installed

The unit {{ watchdog }} knows the daemons:
  file.managed:
    - name: /etc/systemd/system/{{ watchdog }}.service
    - source: salt://dkim/opendkim/files/watchdog.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - context:
        name: {{ watchdog | json }}
        python: {{ grains['pythonexecutable'] | json }}
        library: {{ watchdog_library | json }}
        user: {{ lookup.opendkim_user | json }}
        configurations: {{ dkim.daemons | map(attribute='config_file') | list | json }}
        environment: {{ dkim.environment | json }}
        sandbox: {{ dkim.sandbox | json }}
    - require:
      - pkg: OpenDKIM is installed

{{ watchdog }} runs:
  dkim_service.running:
    - name: {{ watchdog | json }}
    - watch:
      - file: The program {{ watchdog }} is installed
      - file: The unit {{ watchdog }} knows the daemons
{%- endif %}

{%- if dkim.database.local and not dkim.database.reader_has_password %}

{#- One that a hand-made set-up gave the role is of no use once the daemon logs in by peer. #}
OpenDKIM's role has no password:
  dkim_postgres.password_absent:
    - name: {{ dkim.database.reader | json }}
    - require:
      {%- for daemon in dkim.daemons %}
      - dkim: {{ daemon.service }} runs with these settings
      {%- endfor %}
{%- endif %}

{%- if dkim.database.reader_auth != 'password' %}

OpenDKIM's password file is gone:
  file.absent:
    - name: {{ dkim.password_file | json }}
    - require:
      {%- for daemon in dkim.daemons %}
      - dkim: {{ daemon.service }} runs with these settings
      {%- endfor %}
{%- endif %}

{%- if not dkim.service_file.text %}

OpenDKIM's file for a server elsewhere is gone:
  file.absent:
    - name: {{ dkim.service_file.path | json }}
    - require:
      {%- for daemon in dkim.daemons %}
      - dkim: {{ daemon.service }} runs with these settings
      {%- endfor %}
{%- endif %}

{%- for daemon in dkim.unused_daemons if salt['file.file_exists'](daemon.config_file) %}

{#- Last, when main.cf names its socket no more. #}
{{ daemon.service }} is stopped:
  dkim_service.dead:
    - name: {{ daemon.service | json }}
    - order: last
    - require:
      - sls: dkim.check
      {%- for needed in dkim.daemons %}
      - dkim: {{ needed.service }} runs with these settings
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
