{#-
  Takes our lines out of pg_hba.conf and pg_ident.conf. The keys, the tables and the roles stay:
  nothing of the formula deletes a key but dkim.delete and dkim.key_absent.
#}
{%- from 'dkim/map.jinja' import dkim with context %}

{%- if dkim.database.local %}

The roles have no way in:
  dkim_postgres.access_absent: []
{%- endif %}
