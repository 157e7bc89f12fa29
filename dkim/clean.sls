{#-
  Takes the formula's configuration off the machine, Postfix first, so that mail flows throughout.
  Keys, tables and the database role stay.
#}
include:
  - dkim.postfix.clean
  - dkim.opendkim.clean
  - dkim.database.clean
