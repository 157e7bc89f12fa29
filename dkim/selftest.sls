{#- Messages through the daemons' own sockets, signed and verified; none is delivered. #}
include:
  - dkim.check

Mail is signed and verified:
  dkim.signing_verified:
    - require:
      - sls: dkim.check
