{#-
  All of a mail host: OpenDKIM, Postfix's milter, and monitoring. A host whose database is elsewhere
  needs nothing else.
#}
{%- from 'dkim/map.jinja' import dkim with context %}

include:
  - dkim.check
  - dkim.opendkim
  - dkim.postfix
  - dkim.monitoring

{#- What the roles can't say of each other, since each can be applied alone: in which order. #}
extend:
  Postfix has OpenDKIM sign:
    dkim_postfix:
      - require:
        {%- for daemon in dkim.daemons %}
        - dkim_opendkim: {{ daemon.service }} runs with these settings
        {%- endfor %}
  {%- for daemon in dkim.unused_daemons if salt['file.file_exists'](daemon.config_file) %}
  {#- As long as main.cf names its socket, mail waits for it. #}
  {{ daemon.service }} is stopped:
    dkim_service:
      - require:
        - dkim_postfix: Postfix has OpenDKIM sign
  {%- endfor %}
