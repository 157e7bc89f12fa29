{#-
  The master's reaction to an event of the beacon dkim_health. docs/monitoring.md lists the events
  and says how to configure a master with this file. Configuration of the master, dkim_reactor:
    publisher: the minion that publishes records when DNS lacks one.
    mend: true applies dkim.opendkim on a host whose daemon or socket is down.
    mail: {minion, recipient, sender}: a minion with a sendmail, which sends a message for each
      event.
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

OpenDKIM is repaired:
  local.state.apply:
    - tgt: {{ data.id | json }}
    - tgt_type: list
    - args:
        - mods: dkim.opendkim
        - queue: true
{%- endif %}

{%- if mail %}
{%- set head = ['DKIM at', data.id, data.check, data.change] | join(' ') | replace('\n', ' ') %}

{#- By the minion's sendmail, because Salt 3008 has no module smtp. No shell reads the text. #}
a mail is sent:
  local.cmd.run:
    - tgt: {{ mail.minion | json }}
    - args:
        - cmd: {{ ('/usr/sbin/sendmail -i -f ' ~ mail.sender ~ ' ' ~ mail.recipient) | json }}
        - python_shell: false
        - stdin: {{ ('To: ' ~ mail.recipient ~ '\nFrom: ' ~ mail.sender ~ '\nSubject: ' ~ head ~ '\n\n'
                     ~ data.message ~ '.\n' ~ data.remedy ~ '\n') | json }}
{%- endif %}
