{#-
  The whole of it: database, keys, OpenDKIM, Postfix, rotations, the records to publish, and watching.
  Each of these can be applied alone: state.apply dkim.database, dkim.keys, ...
#}
{%- from 'dkim/map.jinja' import dkim with context %}

include:
  - dkim.check
  - dkim.database
  - dkim.database.former
  - dkim.keys
  - dkim.opendkim
  - dkim.postfix
  - dkim.rotation
  - dkim.dns
  - dkim.watch

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
    dkim:
      - require:
        - sls: dkim.database
        - sls: dkim.keys
  {%- endfor %}
  {%- for daemon in dkim.unused_daemons if salt['file.file_exists'](daemon.config_file) %}
  {#- As long as main.cf names its socket, mail waits for it. #}
  {{ daemon.service }} is stopped:
    dkim_service:
      - require:
        - dkim_postfix: Postfix has OpenDKIM sign
  {%- endfor %}
  {#- Its session as a role of former settings ends with its restart. #}
  Roles of former settings are gone:
    dkim_postgres:
      - require:
        {%- for daemon in dkim.daemons %}
        - dkim: {{ daemon.service }} runs with these settings
        {%- endfor %}
  Postfix has OpenDKIM sign:
    dkim_postfix:
      - require:
        {%- for daemon in dkim.daemons %}
        - dkim: {{ daemon.service }} runs with these settings
        {%- endfor %}
