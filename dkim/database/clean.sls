{#-
  Removal of the formula's lines from pg_hba.conf and pg_ident.conf. Keys, tables and roles stay:
  only dkim.delete and dkim.key_absent delete a key on request.
#}
{%- from 'dkim/map.jinja' import dkim with context %}

{%- if dkim.database.local %}

The roles can't log in:
  dkim_postgres.access_absent: []
{%- endif %}
