{#-
  The whole of it: database, keys, mail (OpenDKIM, Postfix, monitoring), rotations, and the records to
  publish.
  Each of these can be applied alone: state.apply dkim.database, dkim.keys, ...
#}
{%- from 'dkim/map.jinja' import dkim with context %}

include:
  - dkim.check
  - dkim.database
  - dkim.database.former
  - dkim.keys
  - dkim.mail
  - dkim.rotation
  - dkim.dns

{#- What the roles can't say of each other, since each can be applied alone: in which order. #}
extend:
  {%- for daemon in dkim.daemons %}
  {#- A daemon that crashes and comes back before the database is ready must find its old file. #}
  {{ daemon.config_file }} has the settings:
    file:
      - require:
        - sls: dkim.database
        - sls: dkim.keys
  {{ daemon.service }} runs with these settings:
    dkim_opendkim:
      - require:
        - sls: dkim.database
        - sls: dkim.keys
  {%- endfor %}
  {#- Its session as a role of former settings ends with its restart. #}
  Roles of former settings are gone:
    dkim_postgres:
      - require:
        {%- for daemon in dkim.daemons %}
        - dkim_opendkim: {{ daemon.service }} runs with these settings
        {%- endfor %}
