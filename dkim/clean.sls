{#-
  Removal of the formula's configuration from this machine: first monitoring and timers, then
  Postfix's milters before OpenDKIM, so that mail is never held up.
  Keys, tables and the database roles stay.
#}
include:
  - dkim.monitoring.clean
  - dkim.rotation.clean
  - dkim.postfix.clean
  - dkim.opendkim.clean
  - dkim.database.clean
