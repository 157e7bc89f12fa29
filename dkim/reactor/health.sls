{#-
  The master's answer to an event of the beacon dkim_health; docs/monitoring.md has the events and
  how a master takes this file. Configuration of the master, dkim_reactor:
    publisher: the minion that publishes records; it does so where DNS lacks one.
    mend: true has a host whose daemon or socket is down put OpenDKIM into order.
    mail: {minion, recipient, sender}: a minion with a sendmail, which sends a message of each event.
#}
{%- set settings = opts.get('dkim_reactor', {}) %}
{%- set publisher = settings.get('publisher') %}
{%- set mail = settings.get('mail') %}
{%- set goes_on = data.change in ('started', 'increased', 'continues') %}

{%- if publisher and goes_on and data.check == 'dns' %}

records are published:
  local.dkim.publish:
    - tgt: {{ publisher | json }}
{%- endif %}

{%- if settings.get('mend') and goes_on and data.check in ('service', 'socket') %}

OpenDKIM is put into order:
  local.state.apply:
    - tgt: {{ data.id | json }}
    - tgt_type: list
    - args:
        - mods: dkim.opendkim
{%- endif %}

{%- if mail %}
{%- set head = ['DKIM at', data.id, data.check, data.change] | join(' ') | replace('\n', ' ') %}

{#- By the minion's sendmail: Salt 3008 has no module smtp any more. No shell reads the text. #}
somebody is told:
  local.cmd.run:
    - tgt: {{ mail.minion | json }}
    - args:
        - cmd: {{ ('/usr/sbin/sendmail -i -f ' ~ mail.sender ~ ' ' ~ mail.recipient) | json }}
        - python_shell: false
        - stdin: {{ ('To: ' ~ mail.recipient ~ '\nFrom: ' ~ mail.sender ~ '\nSubject: ' ~ head ~ '\n\n'
                     ~ data.message ~ '.\n' ~ data.remedy ~ '\n') | json }}
{%- endif %}
