{#-
  The Python packages that the formula's modules need, in the Python that runs Salt: psycopg2 and
  dnspython.
  Salt itself brings the others (cryptography, idna).
#}
{%- from 'dkim/map.jinja' import lookup with context %}
include:
  - dkim.check

{#- Asked here and not by an unless, for which Salt loads every state module there is: 0.7 s of a
    run that changes nothing (measured, Salt 3008). #}
{%- set imports = [grains['pythonexecutable'], '-c', "'import dns.version, psycopg2'"] | join(' ') %}
{%- set are_there = salt['cmd.retcode'](imports, ignore_retcode=True) == 0 %}

Salt's Python has the PostgreSQL driver:
{%- if are_there %}
  test.nop
{%- else %}
  pip.installed:
    - pkgs: {{ lookup.python_packages | json }}
    - reload_modules: true
{%- endif %}
