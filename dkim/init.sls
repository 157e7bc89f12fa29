{#-
  The whole formula: database, keys, mail (OpenDKIM, Postfix, monitoring), rotations, and the
  records to publish. Each part can be applied alone: state.apply dkim.database, dkim.keys, ...
#}
{%- from 'dkim/map.jinja' import dkim with context %}

include:
  - dkim.check
  - dkim.database
{%- if not dkim.has_fleet %}
  - dkim.database.former
{%- endif %}
  - dkim.keys
  - dkim.mail
  - dkim.rotation
  - dkim.dns

{#- The order of the parts. The parts can't set it themselves, because each can be applied alone. #}
extend:
  {%- for daemon in dkim.daemons %}
  {#- A daemon that restarts before the database is ready must find its old file. #}
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
  {%- if not dkim.has_fleet %}
  {#- The restart of a daemon ends its session as a role of former settings. #}
  Roles of former settings are gone:
    dkim_postgres:
      - require:
        {%- for daemon in dkim.daemons %}
        - dkim_opendkim: {{ daemon.service }} runs with these settings
        {%- endfor %}
  {%- endif %}
