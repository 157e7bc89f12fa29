{#-
  The virtual-mail database: PostgreSQL and the database if they are missing, the formula's tables
  and views, OpenDKIM's role, the writer's role, and the logins of both.
#}
{%- from 'dkim/map.jinja' import dkim, lookup, systemd with context %}

include:
  - dkim.check

{%- if dkim.database.manage and dkim.database.local %}

PostgreSQL is installed:
  pkg.installed:
    - name: {{ lookup.postgresql_package | json }}
    - require:
      - sls: dkim.check

PostgreSQL runs:
  dkim_service.running:
    - name: {{ lookup.postgresql_service | json }}
    - require:
      - pkg: PostgreSQL is installed

The virtual-mail database exists:
  dkim_postgres.database_present:
    - require:
      - dkim_service: PostgreSQL runs
    - require_in:
      - dkim_postgres: The virtual-mail database holds DKIM keys
{%- endif %}

The virtual-mail database holds DKIM keys:
  dkim_postgres.schema_present:
    - require:
      - sls: dkim.check

PUBLIC has no rights on the DKIM tables:
  dkim_postgres.closed_to_public:
    - require:
      - dkim_postgres: The virtual-mail database holds DKIM keys

OpenDKIM's role reads the views and nothing else:
  dkim_postgres.role_present:
    - name: {{ dkim.database.reader | json }}
    - password: {{ 'pillar' if dkim.database.reader_has_password else 'keep' }}
    - require:
      - dkim_postgres: The virtual-mail database holds DKIM keys

{%- if dkim.database.has_writer %}

The writer has its rights:
  dkim_postgres.writer_present:
    - require:
      - dkim_postgres: The virtual-mail database holds DKIM keys
{%- endif %}

{%- if not dkim.has_fleet %}
{#- In a fleet the roll-out does this last (dkim.database.former): until then a mail host whose turn
    has not come logs in as its former role, also if it has no session on this server now. #}

Roles of former settings without a session are gone:
  dkim_postgres.former_roles_absent:
    - require:
      - dkim_postgres: OpenDKIM's role reads the views and nothing else
      {%- if dkim.database.has_writer %}
      - dkim_postgres: The writer has its rights
      {%- endif %}
{%- endif %}

{%- if dkim.database.local %}

{#- One edit of the two files for both roles. #}
The roles can log in:
  dkim_postgres.access_present:
    {%- if not systemd %}
    {#- The init script starts the daemon as root: its first session is root's (docs/caveats). #}
    - also_root: true
    {%- endif %}
    - keep_former: {{ dkim.has_fleet | json }}
    - require:
      - dkim_postgres: OpenDKIM's role reads the views and nothing else
      {%- if dkim.database.has_writer %}
      - dkim_postgres: The writer has its rights
      {%- endif %}
{%- endif %}
