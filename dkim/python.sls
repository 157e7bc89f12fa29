{#-
  The Python packages that the formula's modules need, in the Python that runs Salt: psycopg2 and
  dnspython.
  Salt itself brings the others (cryptography, idna).
#}
{%- from 'dkim/map.jinja' import lookup with context %}

Salt's Python has the PostgreSQL driver:
  pip.installed:
    - pkgs: {{ lookup.python_packages | json }}
    - reload_modules: true
    - unless:
      - {{ grains['pythonexecutable'] }} -c 'import dns.version, psycopg2'
