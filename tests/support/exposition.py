"""
A strict parser of Prometheus's text format 0.0.4, written from its description.

Source: Prometheus, «Exposition formats», «Text format details».
"""

import re

Series = dict[tuple[tuple[str, str], ...], float]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{((?:{_LABEL},)*{_LABEL}|)\}})? (\S+)")
_HELP = re.compile(rf"# HELP ({_NAME}) (?:[^\\\n]|\\[\\n])*")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram|summary|untyped)")
_ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


def parse(text: str) -> dict[str, Series]:
    """
    Return the samples of each metric, by their labels in order of the names.

    Raises ValueError for:

    - a line that is not of the format,
    - a metric whose lines are not together,
    - a metric without HELP and TYPE before its samples,
    - two samples with the same labels.
    """
    if text and not text.endswith("\n"):
        raise ValueError("the last line has no line feed")
    metrics: dict[str, Series] = {}
    helped = typed = ""
    for line in text.split("\n")[:-1]:
        if match := _HELP.fullmatch(line):
            if match[1] in metrics:
                raise ValueError(f"{match[1]} has two blocks")
            helped = match[1]
        elif match := _TYPE.fullmatch(line):
            if match[1] != helped:
                raise ValueError(f"{match[1]} has no HELP before its TYPE")
            typed = match[1]
        else:
            _add(metrics, typed, line)
    return metrics


def _add(metrics: dict[str, Series], typed: str, line: str) -> None:
    match = _SAMPLE.fullmatch(line)
    if match is None:
        raise ValueError(f"invalid line: {line!r}")
    name, labels, value = match[1], match[2] or "", float(match[3])
    if name != typed:
        raise ValueError(f"{name} has no TYPE, or its lines are not together")
    pairs = [pair.partition("=") for pair in re.findall(_LABEL, labels)]
    found = tuple(sorted((key, _unescaped(quoted[1:-1])) for key, _, quoted in pairs))
    series = metrics.setdefault(name, {})
    if found in series or len(dict(found)) != len(found):
        raise ValueError(f"the same labels twice: {line!r}")
    series[found] = value


def _unescaped(text: str) -> str:
    return re.sub(r'\\[n"\\]', lambda match: _ESCAPES[match[0]], text)
