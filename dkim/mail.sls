{#-
  Everything for a mail host: OpenDKIM, Postfix's milter, and monitoring. A host whose database is
  on another machine needs nothing else.
#}
{%- from 'dkim/map.jinja' import dkim with context %}

include:
  - dkim.check
  - dkim.opendkim
  - dkim.postfix
  - dkim.monitoring

{#- The order of the parts. The parts can't set it themselves, because each can be applied alone. #}
extend:
  Postfix has OpenDKIM sign:
    dkim_postfix:
      - require:
        {%- for daemon in dkim.daemons %}
        - dkim_opendkim: {{ daemon.service }} runs with these settings
        {%- endfor %}
  {%- for daemon in dkim.unused_daemons if salt['file.file_exists'](daemon.config_file) %}
  {#- While main.cf names the daemon's socket, mail waits for the daemon. #}
  {{ daemon.service }} is stopped:
    dkim_service:
      - require:
        - dkim_postfix: Postfix has OpenDKIM sign
  {%- endfor %}
