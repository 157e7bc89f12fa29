{#-
  Takes the formula's configuration off the machine: what monitors it and what runs by
  itself first, then Postfix before all
  others, so that mail flows throughout.
  Keys, tables and the database role stay.
#}
include:
  - dkim.monitoring.clean
  - dkim.rotation.clean
  - dkim.postfix.clean
  - dkim.opendkim.clean
  - dkim.database.clean
