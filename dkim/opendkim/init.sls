{#-
  OpenDKIM, which reads its tables from PostgreSQL, with its socket inside Postfix's chroot. A
  second daemon runs if a domain has an Ed25519 key.
#}
include:
  - dkim.opendkim.package
  - dkim.opendkim.socket
  - dkim.opendkim.config
  - dkim.opendkim.service
  - dkim.opendkim.unused
