{#-
  The whole of it: database, keys, OpenDKIM, Postfix, and the records to publish.
  Each of these can be applied alone: state.apply dkim.database, dkim.keys, ...
#}
include:
  - dkim.check
  - dkim.database
  - dkim.keys
  - dkim.opendkim
  - dkim.postfix
  - dkim.dns
