"""The files that the formula writes, rendered from their templates as Salt renders them."""

from pathlib import Path

import jinja2

FILES = Path(__file__).resolve().parents[2] / "dkim" / "opendkim" / "files"
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FILES),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    autoescape=False,
)


def rendered(name, **context):
    """Return the text of a template of ``dkim/opendkim/files``."""
    return _ENVIRONMENT.get_template(name).render(**context)


def opendkim_conf(options):
    """Return the opendkim.conf(5) with these options."""
    return rendered("opendkim.conf.jinja", options=options)
