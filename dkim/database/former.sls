{#-
  Readers and workers that the settings no longer name lose their rights. OpenDKIM may still have a
  session as one of them: where it runs here too, dkim/init.sls has it restarted before.
#}
include:
  - dkim.check
  - dkim.database

Roles of former settings are gone:
  dkim_postgres.former_roles_absent:
    - require:
      - sls: dkim.check
      - sls: dkim.database
