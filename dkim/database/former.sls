{#-
  Roles of former settings that OpenDKIM of this machine had sessions as until its restart in this
  run. dkim/init.sls orders it behind the daemons; dkim.database removes all other such roles.
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
