{#-
  Roles of former settings. On a single machine, those with sessions of this machine's OpenDKIM, which
  end with its restart in this run: dkim/init.sls runs this SLS after the daemons, and dkim.database
  removes the other roles. In a fleet, all of them and their logins: the roll-out runs this SLS after
  the mail hosts.
#}
{%- from 'dkim/map.jinja' import dkim, systemd with context %}

include:
  - dkim.check
{%- if not dkim.has_fleet %}
  - dkim.database
{%- endif %}

Roles of former settings are gone:
  dkim_postgres.former_roles_absent:
    {%- if not dkim.has_fleet %}
    - after_restart: true
    {%- endif %}
    - require:
      - sls: dkim.check
      {%- if not dkim.has_fleet %}
      - sls: dkim.database
      {%- endif %}

{%- if dkim.has_fleet and dkim.database.local %}

No role of former settings can log in:
  dkim_postgres.access_present:
    {%- if not systemd %}
    - also_root: true
    {%- endif %}
    - require:
      - sls: dkim.check
{%- endif %}
