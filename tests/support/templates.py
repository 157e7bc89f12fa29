"""Rendering of the formula's templates, with the same settings as Salt's."""

from pathlib import Path

import jinja2

FILES = Path(__file__).resolve().parents[2] / "dkim"
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FILES),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    autoescape=False,
)


def rendered(name, **context):
    """Return the rendered text of a template below ``dkim``."""
    return _ENVIRONMENT.get_template(name).render(**context)


def opendkim_conf(options):
    """Return the text of opendkim.conf(5) with these options."""
    return rendered("opendkim/files/opendkim.conf.jinja", options=options)
