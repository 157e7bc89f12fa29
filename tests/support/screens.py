"""
The screens whose exact texts are in ``tests/screens``.

``PYTHONPATH=tests:_utils python3 -m support.screens`` writes the texts again, so that a reviewer
can read the changes.
"""

from pathlib import Path

from dkim_formula import calls
from dkim_formula.screens import commands
from dkim_formula.screens.commands import Asked, Terminal

from support import fleet_returns, returns, rotations

FOLDER = Path(__file__).resolve().parents[1] / "screens"
WIDTHS = (80, 140)

# The call of a function on a machine that bin/highstate set up.
HIGHSTATE = "/root/dkim-formula/bin/highstate --call"

# Each screen's function, its return, the options of the call, and the terminal except its width,
# with the machine's option dkim_call.
CASES = {
    "advance": ("advance", rotations.advance(), {}, {}),
    "advance-test": ("advance", rotations.advance(), {"test": True}, {}),
    "revoke-compromised": ("revoke", rotations.revocation(), {}, {}),
    "activate-nothing": ("activate", rotations.nothing(), {}, {}),
    "check": ("check", returns.checked_before(), {}, {}),
    "check-well": ("check", {"problems": [], "advice": [], "database_checked": True}, {}, {}),
    "check_dns": ("check_dns", returns.dns_found(), {}, {}),
    "check_dns-ascii": ("check_dns", returns.dns_found(), {}, {"utf8": False}),
    "check_dns-many": ("check_dns", returns.dns_ok(200), {}, {}),
    "delegations": ("delegations", returns.delegated(), {}, {}),
    "delegations-well": ("delegations", returns.delegated_correctly(), {}, {}),
    "delete": ("delete", returns.deleted(), {}, {}),
    "delete-test": ("delete", {"changes": returns.deleted()["changes"]}, {}, {}),
    "doctor": ("doctor", returns.few_findings(), {}, {}),
    "doctor-highstate": ("doctor", returns.few_findings(), {}, {"call": HIGHSTATE}),
    "doctor-verbose": ("doctor", returns.few_findings(), {"verbose": True}, {"utf8": False}),
    "generate": ("generate", returns.generated(), {}, {}),
    "generate-test": ("generate", {"changes": returns.generated()["changes"]}, {}, {}),
    "export_key": ("export_key", returns.exported(), {}, {}),
    "fleet": ("fleet", fleet_returns.unhealthy(), {}, {}),
    "fleet-ascii": ("fleet", fleet_returns.unhealthy(), {}, {"utf8": False}),
    "fleet-none": ("fleet", fleet_returns.without_hosts(), {}, {}),
    "fleet-unseen": ("fleet", fleet_returns.unseen(), {}, {}),
    "fleet-well": ("fleet", fleet_returns.well(), {}, {}),
    "forget_replica": ("forget_replica", returns.forgotten(), {}, {}),
    "forget_replica-test": ("forget_replica", returns.forgotten(), {"test": True}, {}),
    "generate_missing": ("generate_missing", returns.generated_missing(), {}, {}),
    "generate_missing-none": ("generate_missing", {"changes": {}, "notes": []}, {}, {}),
    "generate_missing-test": ("generate_missing", returns.generated_missing(), {"test": True}, {}),
    "health": ("health", returns.unhealthy(), {}, {}),
    "health-well": ("health", returns.healthy(), {}, {}),
    "import_key": ("import_key", returns.generated(), {}, {}),
    "import_tables": ("import_tables", returns.imported(), {}, {}),
    "import_tables-test": ("import_tables", returns.imported(), {"test": True}, {}),
    "list_keys": ("list_keys", returns.listed(), {}, {}),
    "mta_sts_policy": ("mta_sts_policy", returns.policy(), {}, {}),
    "notify": ("notify", returns.notified(), {}, {}),
    "notify-nothing": ("notify", returns.nothing_to_notify(), {}, {}),
    "notify-failed": ("notify", returns.notification_failed(), {}, {}),
    "publish": ("publish", returns.published(), {}, {}),
    "records": ("records", [returns.record()], {}, {}),
    "records-relative": ("records", returns.relative(), {}, {}),
    "report": ("report", {"path": "/var/www/dkim/index.html", "group": "www-data"}, {}, {}),
    "report-test": (
        "report",
        {"path": "/var/www/dkim/index.html", "group": "www-data"},
        {"test": True},
        {},
    ),
    "rotate": ("rotate", returns.rotated(), {}, {}),
    "rotate-test": ("rotate", returns.rotation_previewed(), {"test": True}, {}),
    "selftest": ("selftest", returns.signed(), {}, {}),
    "check_dns-unseen": ("check_dns", returns.dns_unknown(), {}, {}),
    "selftest-unseen": ("selftest", returns.signed_dns_unknown(), {}, {}),
    "selftest-well": ("selftest", returns.signed()[:2], {}, {"height": 4}),
    "status": ("status", returns.few_keys(), {}, {"height": 40}),
    "status-ascii": ("status", returns.few_keys(), {}, {"height": 40, "utf8": False}),
    "status-colour": ("status", returns.few_keys(), {}, {"height": 40, "colour": True}),
    "status-few-lines": ("status", returns.few_keys(), {}, {"height": 10}),
    "status-held": ("status", returns.held_keys(), {}, {}),
    "status-orphaned": ("status", returns.orphaned_keys(), {}, {}),
    "status-unasked": ("status", returns.unasked_keys(), {}, {}),
    "status-guide": ("status", returns.guide_keys(), {}, {}),
    "status-highstate": ("status", returns.few_keys(), {}, {"height": 10, "call": HIGHSTATE}),
    "status-many": ("status", returns.many_keys(2000), {}, {}),
    "status-standby": ("status", returns.with_standby(), {}, {}),
    "status-none": ("status", [], {}, {}),
    "status-problem-none": ("status", [], {"problem": True}, {}),
    "write_metrics": ("write_metrics", {"path": "/var/lib/prometheus/dkim.prom"}, {}, {}),
}


def drawn(name: str, width: int) -> str:
    """Return a screen's text, as in its file."""
    function, data, asked, given = CASES[name]
    terminal = Terminal(width=width, **{key: given[key] for key in given if key != "call"})
    with calls.made_by(given.get("call")):
        text = commands.draw(function, data, Asked(**asked), terminal, returns.NOW)
    return f"{text}\n"


def main() -> None:
    """Write all screens."""
    for name in CASES:
        for width in WIDTHS:
            (FOLDER / f"{name}.{width}.txt").write_text(drawn(name, width), encoding="utf-8")


if __name__ == "__main__":
    main()
