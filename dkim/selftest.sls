{#- A test: the daemons sign messages through their own sockets. No message is delivered. #}
include:
  - dkim.check

Mail is signed and verified:
  dkim.signing_verified:
    - require:
      - sls: dkim.check
