{#-
  Roles of former settings with sessions of this machine's OpenDKIM, which end with its restart in
  this run. dkim/init.sls runs this SLS after the daemons; dkim.database removes the other roles.
#}
include:
  - dkim.check
  - dkim.database

Roles of former settings are gone:
  dkim_postgres.former_roles_absent:
    - after_restart: true
    - require:
      - sls: dkim.check
      - sls: dkim.database
