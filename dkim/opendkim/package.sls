{#- OpenDKIM, and the library through which it reads tables from PostgreSQL. #}
{%- from 'dkim/map.jinja' import lookup with context %}

include:
  - dkim.check

OpenDKIM is installed:
  pkg.installed:
    - pkgs: {{ [lookup.opendkim_package, lookup.opendkim_backend_package] | json }}
    - require:
      - sls: dkim.check
