{#-
  The Python packages that the formula's modules need, in the Python that runs Salt: psycopg2,
  dnspython, and octoDNS with the packages of dns:providers where dns:publish is octodns.
  Salt itself brings the others (cryptography, idna).
#}
{%- from 'dkim/map.jinja' import dkim, lookup with context %}
include:
  - dkim.check

{#- Asked here and not by an unless, for which Salt loads every state module there is: 0.7 s of a
    run that changes nothing (measured, Salt 3008). #}
{%- set modules = dkim.dns.packages | map('replace', '-', '_') | list | json %}
{%- set code = 'import dns.version, psycopg2, importlib.util as i; exit(not all(map(i.find_spec, ' ~ modules ~ ')))' %}
{%- set imports = [grains['pythonexecutable'], '-c', "'" ~ code ~ "'"] | join(' ') %}
{%- set are_there = salt['cmd.retcode'](imports, ignore_retcode=True) == 0 %}

Salt's Python has the PostgreSQL driver:
{%- if are_there %}
  test.nop
{%- else %}
  pip.installed:
    - pkgs: {{ (lookup.python_packages + dkim.dns.packages) | json }}
    {%- if lookup.python_wheels %}
    - no_index: true
    - find_links: {{ lookup.python_wheels | json }}
    {%- endif %}
    - reload_modules: true
{%- endif %}
