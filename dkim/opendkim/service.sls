{#- The unit of each daemon, restarted when a file that the daemon reads changes; the watchdog. #}
{%- from 'dkim/map.jinja' import dkim, lookup, systemd with context %}

include:
  - dkim.opendkim.package
  - dkim.opendkim.socket
  - dkim.opendkim.config
{%- for daemon in dkim.daemons %}
{%- set main = daemon.service == lookup.opendkim_service %}
{%- set unit = '/etc/systemd/system/' ~ daemon.service ~ '.service' %}
{%- set unit_file = unit ~ '.d/dkim-formula.conf' if main else unit %}

{%- if systemd %}

{#- A masked unit is a link to /dev/null, and file.managed would write through it. If the unit is a
    file, Salt logs in each run an error that it can't tell (service.masked, Salt 3008.3). #}
{%- set can_be_masked = not salt['file.file_exists'](unit) %}
{%- if can_be_masked %}
{{ daemon.service }} is not masked:
  service.unmasked:
    - name: {{ daemon.service | json }}
    - require:
      - pkg: OpenDKIM is installed
{%- endif %}

The unit {{ daemon.service }} fits PostgreSQL and Postfix:
  file.managed:
    - name: {{ unit_file | json }}
    - source: salt://dkim/opendkim/files/opendkim.service.jinja
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
      - {{ ('service: ' ~ daemon.service ~ ' is not masked') if can_be_masked else 'pkg: OpenDKIM is installed' }}
      - dkim_opendkim: OpenDKIM accepts its settings
{%- endif %}

{{ daemon.service }} runs with these settings:
  dkim_opendkim.running:
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
      {%- if dkim.service_file.needed %}
      - {{ dkim.service_file.path | json }}
      {%- endif %}
    - watch:
      - file: {{ daemon.config_file }} has the settings
      - file: The socket directory in Postfix's chroot exists
      {%- if systemd %}
      - file: The unit {{ daemon.service }} fits PostgreSQL and Postfix
      {%- endif %}
      {%- if dkim.database.reader_auth == 'password' %}
      - dkim_opendkim: OpenDKIM's database password is for the daemon alone
      {%- endif %}
      {%- if dkim.service_file.needed %}
      - file: OpenDKIM's connections notice a server that is gone
      {%- endif %}

{%- if systemd %}

{{ daemon.service }} starts with the machine:
  service.enabled:
    - name: {{ daemon.service | json }}
    - require:
      - dkim_opendkim: {{ daemon.service }} runs with these settings
{%- endif %}
{%- endfor %}

{%- if systemd %}
{%- set watchdog = lookup.opendkim_service ~ '-watchdog' %}
{%- set watchdog_library = '/usr/local/lib/' ~ watchdog %}

{#- docs/faults.md, «A look-up cut short», explains the watchdog. The watchdog's account can't read
    Salt's cache. #}
The program {{ watchdog }} is installed:
  file.recurse:
    - name: {{ watchdog_library ~ '/dkim_formula' }}
    - source: salt://_utils/dkim_formula
    - include_pat: 'E@^(__init__|errors|secret|signer/(__init__|milter|watchdog|watchdog_database))\.py$'
    - clean: true
    - user: root
    - group: root
    - dir_mode: '0755'
    - file_mode: '0644'
    - require:
      - dkim_opendkim: OpenDKIM accepts its settings

The unit {{ watchdog }} knows the daemons:
  file.managed:
    - name: /etc/systemd/system/{{ watchdog }}.service
    - source: salt://dkim/opendkim/files/opendkim-watchdog.service.jinja
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
      - dkim_opendkim: OpenDKIM accepts its settings

{{ watchdog }} runs:
  dkim_service.running:
    - name: {{ watchdog | json }}
    - watch:
      - file: The program {{ watchdog }} is installed
      - file: The unit {{ watchdog }} knows the daemons
{%- endif %}
