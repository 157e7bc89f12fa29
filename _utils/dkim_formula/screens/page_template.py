"""The template of the page that ``screens.page`` draws: HTML without scripts or other files."""

# The page is light or dark by the setting of the browser, and black on white on paper. No state is
# shown by a colour alone. The policy (CSP 3) forbids to load anything, whatever text the page has.
TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
img-src data:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
{%- if refresh %}
<meta http-equiv="refresh" content="{{ refresh }}">
{%- endif %}
<title>{{ verdict }} · DKIM on {{ host }}</title>
<link rel="icon" href="data:,">
<style>
:root { --ink: #1d2125; --soft: #59636e; --line: #d8dce1; --paper: #fff; --tint: #f5f6f8;
  --bad: #a8201a; --busy: #8a5a00; --good: #1a6b3c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7ea; --soft: #9aa4ae; --line: #363c43; --paper: #16191c; --tint: #1f2327;
    --bad: #ff8a80; --busy: #f0b95a; --good: #7fd3a0; } }
* { box-sizing: border-box; }
html { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 70rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; font-weight: 650; }
h2 { margin: 3rem 0 .75rem; font-size: 1.15rem; font-weight: 650; }
h3 { margin: 0; font-size: 1rem; font-weight: 600; }
p { margin: .35rem 0; max-width: 46rem; }
.soft, .times, footer { color: var(--soft); }
.times { margin-top: .5rem; font-size: .9rem; }
.bad { color: var(--bad); } .busy { color: var(--busy); } .good { color: var(--good); }
.figures { display: flex; flex-wrap: wrap; gap: .25rem 2.5rem; margin: 1.5rem 0 0; padding: 1rem 0;
  border: solid var(--line); border-width: 1px 0; list-style: none; }
.figures b { display: block; font-size: 1.35rem; font-weight: 650;
  font-variant-numeric: tabular-nums; }
.figures span { font-size: .85rem; color: var(--soft); }
article { margin: 0 0 1rem; padding: .9rem 1.1rem; border: 1px solid var(--line);
  border-left: 4px solid var(--bad); border-radius: 3px; break-inside: avoid; }
article.unknown { border-left-color: var(--line); }
pre { margin: .6rem 0 0; padding: .6rem .8rem; background: var(--tint); border-radius: 3px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
code, pre { font: .85rem/1.5 ui-monospace, monospace; }
.names { margin: .5rem 0 0; padding: 0; list-style: none; columns: 20rem; font-size: .85rem; }
.names li { overflow-wrap: anywhere; break-inside: avoid; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th { padding: .4rem .9rem .4rem 0; border-bottom: 2px solid var(--line); text-align: left;
  color: var(--soft); font-weight: 600; white-space: nowrap; }
td { padding: .45rem .9rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr { break-inside: avoid; }
td.name { min-width: 9rem; font-weight: 600; }
td.when { white-space: nowrap; }
td.name, td.selector { overflow-wrap: anywhere; }
td.same { border-bottom-color: transparent; }
td .below { display: block; color: var(--soft); font-size: .85rem; max-width: 30rem; }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line);
  font-size: .85rem; }
@media print {
  :root { --ink: #000; --soft: #444; --line: #999; --paper: #fff; --tint: #fff; --bad: #000;
    --busy: #000; --good: #000; }
  html { font-size: 10.5pt; }
  body { max-width: none; padding: 0; }
  h2 { break-after: avoid; }
  thead { display: table-header-group; }
  pre { border: 1px solid var(--line); } }
</style>
</head>
<body>
<header>
<h1 class="{{ tone }}">{{ verdict }}</h1>
<p>DKIM signing on <b>{{ host }}</b></p>
<p class="times">As of <time datetime="{{ at }}">{{ at | date_and_time }}</time>.
{%- for what, time in checked %} {{ what }} checked {{ time }}.{% endfor %}</p>
</header>
<ul class="figures">
{%- for number, what in figures %}
<li><b>{{ number }}</b><span>{{ what }}</span></li>
{%- endfor %}
</ul>

<main>
<h2>Problems</h2>
{%- for one in problems %}
<article>
<h3>{{ one.name | safely }}</h3>
<p>{{ one.message | safely }}</p>
{%- if one.since %}
<p class="times">Since {{ one.since | date_and_time }}</p>
{%- endif %}
{%- if one.names %}
<ul class="names">
{%- for name in one.names %}
<li>{{ name | safely }}</li>
{%- endfor %}
{%- if one.more %}
<li class="soft">and {{ one.more }} more</li>
{%- endif %}
</ul>
{%- endif %}
{%- if one.commands %}
<pre>
{%- for line in one.commands %}
{{ line | safely }}
{%- endfor %}
</pre>
{%- endif %}
</article>
{%- else %}
<p class="good">None.</p>
{%- endfor %}
{%- if unknown %}
<article class="unknown">
<h3>Not known</h3>
<p>Nothing is known of these checks: {{ unknown | join(", ") | safely }}.</p>
</article>
{%- endif %}

<h2>Next steps</h2>
{%- if unknown_keys %}
<p>{{ unknown_keys | safely }}</p>
{%- elif steps %}
<div class="wide"><table>
<thead><tr><th>When</th><th>Domain</th><th>Selector</th><th>Step</th></tr></thead>
<tbody>
{%- for one in steps %}
<tr><td class="when {{ one.tone }}">{{ one.when }}\
{%- if one.date %}<span class="below">{{ one.date }}</span>{% endif %}</td>\
<td class="name">{{ one.domain | safely }}</td>\
<td class="selector">{{ one.selector | safely }}</td>
<td>{{ one.step | safely }}{% if one.reason %}<span class="below">{{ one.reason | safely }}\
</span>{% endif %}</td></tr>
{%- endfor %}
</tbody>
</table></div>
{%- if steps_left %}
<p class="soft">{{ steps_left }} later steps are not shown.</p>
{%- endif %}
{%- else %}
<p>None: there are no keys.</p>
{%- endif %}

<h2>Domains and keys</h2>
{%- if unknown_keys %}
<p>{{ unknown_keys | safely }}</p>
{%- elif keys %}
<div class="wide"><table>
<thead><tr><th>Domain</th><th>Selector</th><th>Algorithm</th><th>State</th><th>For</th>\
<th>DNS, last observed</th><th>Is</th></tr></thead>
<tbody>
{%- for one in keys %}
<tr><td class="name{{ ' same' if one.goes_on }}">{{ one.domain | safely }}</td>\
<td class="selector">{{ one.selector | safely }}\
{%- if one.problem %}<span class="below">{{ one.problem | safely }}</span>{% endif %}</td>
<td>{{ one.algorithm }}</td><td>{{ one.state }}</td><td>{{ one.age }}</td>\
<td class="{{ one.dns_tone }}">{{ one.dns }}</td><td class="{{ one.tone }}">{{ one.is }}</td></tr>
{%- endfor %}
</tbody>
</table></div>
{%- if keys_left %}
<p class="soft">{{ keys_left }} more keys are not shown. Show all: \
<code>salt-call dkim.status all=True</code></p>
{%- endif %}
{%- else %}
<p>There are no keys.</p>
{%- endif %}

<h2>DNS</h2>
{%- if by_verdict %}
<p>{{ by_verdict }}</p>
{%- else %}
<p>DNS was not asked for any record.</p>
{%- endif %}
{%- if records %}
<div class="wide"><table>
<thead><tr><th>Record that is not as desired</th><th>Type</th><th>Verdict</th></tr></thead>
<tbody>
{%- for one in records %}
<tr><td class="name">{{ one.name | safely }}</td><td>{{ one.type | safely }}</td>\
<td class="bad">{{ one.verdict | safely }}</td></tr>
{%- endfor %}
</tbody>
</table></div>
{%- if records_left %}
<p class="soft">{{ records_left }} more records are not shown. Show all: \
<code>salt-call dkim.check_dns</code></p>
{%- endif %}
{%- endif %}
</main>
<footer>
{%- if every %}
<p>This page is written every {{ every }}. If the time above is older, see \
<code>systemctl status dkim-report.timer</code>.</p>
{%- endif %}
<p>All times are in UTC. The page holds no private key and no password.</p>
</footer>
</body>
</html>
"""
