{#-
  The Python packages that the formula's modules need, in the Python that runs Salt: psycopg2,
  dnspython, and with dns:publish octodns also octoDNS and the packages of dns:providers. Salt
  itself includes the others (cryptography, idna).
#}
{%- from 'dkim/map.jinja' import dkim, lookup with context %}
include:
  - dkim.check

{#- The imports are tested here. An unless would make Salt load every state module, which takes
    0.7 s of a run without changes (measured, Salt 3008). #}
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
