{#-
  OpenDKIM, reading its tables from PostgreSQL, with its socket where Postfix in its chroot finds it.
  A second daemon stands beside it where some domain has an Ed25519 key.
#}
include:
  - dkim.opendkim.package
  - dkim.opendkim.socket
  - dkim.opendkim.config
  - dkim.opendkim.service
  - dkim.opendkim.unused
