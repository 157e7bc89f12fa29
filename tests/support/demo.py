"""
Shows the formula at work: makes a throw-away Debian mail server, applies the formula to it with
pillar.example, sends mail from it and verifies the signatures. The verification uses only the
records that the formula shows, and no OpenDKIM.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Callable, Mapping

from support import mail, salt, signals
from support.machine import (
    KNOWN,
    RELEASES,
    ROOT,
    CommandFailed,
    ContainerError,
    ImageError,
    Machine,
    NotInTime,
    missing,
)
from support.progress import Progress

INDENT = "          "


class DemoFailed(Exception):
    """A result of the demo that is wrong; the text says which."""


def main() -> int:
    """Run the command; return its exit status."""
    options = _parse()
    problems = missing()
    if problems:
        _show("This host can't run a throw-away machine:\n" + "\n".join(problems))
        print("DEMO FAILED: fix the problems of this host above")
        return 1
    progress = Progress()
    try:
        _demo(options, progress)
    except (CommandFailed, ContainerError, DemoFailed, ImageError, NotInTime) as error:
        return _fail(progress, str(error))
    except KeyboardInterrupt:
        return _fail(progress, "interrupted", 130)
    print("\nWhere the time went:", progress.table(), "", "DEMO PASSED", sep="\n")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/demo", description=__doc__.strip())
    parser.add_argument("--release", choices=KNOWN, default=RELEASES[0], help="Debian release")
    parser.add_argument("--keep", action="store_true", help="leave the machine running")
    parser.add_argument("--shell", action="store_true", help="open a shell in it at the end")
    return parser.parse_args()


def _demo(options: argparse.Namespace, progress: Progress) -> None:
    name = f"demo-{options.release}-{os.getpid()}"
    machine = Machine(options.release, name, keep=options.keep, progress=progress)
    with progress.step(f"Starting a bare Debian machine ({options.release})"):
        machine.start()
    try:
        _show_formula(machine, progress)
        if options.shell:
            progress.say("A shell in the machine; exit ends it")
            machine.stream(["/bin/bash", "-l"], env={"TERM": os.environ.get("TERM", "dumb")})
    finally:
        if options.keep:
            progress.say(f"The machine stays: bin/machine shell {name}; bin/machine remove {name}")
        else:
            with progress.step("Removing the machine"):
                machine.stop(hard=True)


def _show_formula(machine: Machine, progress: Progress) -> None:
    with progress.step("Applying the formula: bin/highstate with pillar.example", remind=20):
        salt.install_formula(machine, (ROOT / "pillar.example").read_text())
        run = salt.apply(machine)
    _show(_summary(run))
    if not run.succeeded:
        _show("\n".join([*run.errors, *(str(state) for state in run.failed)]))
        raise DemoFailed("the highstate failed; see the failed states above the times")
    with progress.step("Records to publish: bin/highstate --call dkim.records format=bind"):
        zone_lines = salt.call(machine, "dkim.records", format="bind")
        records = mail.zone_records(machine, zone_lines)
    _show(zone_lines)
    domains = _signing_domains(records)
    box = mail.Mailbox(machine)
    _show_message(box, domains[0], "SMTP", mail.sent_by_smtp, records, progress)
    _show_message(box, domains[-1], "sendmail(1)", mail.sent_by_sendmail, records, progress)


def _show_message(
    box: mail.Mailbox,
    domain: str,
    way: str,
    send: Callable[..., bytes],
    records: Mapping[str, str],
    progress: Progress,
) -> None:
    with progress.step(f"A message from someone@{domain} by {way}"):
        message = send(box, f"someone@{domain}", subject=f"By {way}")
    _show(mail.headers(message))
    with progress.step(f"Verifying it by dkimpy, with the records above (by {way})"):
        found = mail.signatures(box.machine, message, records)
        changed = message.replace(b"Hello.", b"Hello!")
        forged = mail.signatures(box.machine, changed, records)
    for signature in found:
        verdict = "valid" if signature.valid else f"NOT VALID {signature.problem}"
        _show(f"d={signature.domain} s={signature.selector} a={signature.algorithm}: {verdict}")
    if not any(signature.valid and signature.domain == domain for signature in found):
        raise DemoFailed(f"the message from {domain} by {way} has no valid signature of the domain")
    if any(signature.valid for signature in forged):
        raise DemoFailed("the signature is also valid for another body")
    _show("The same message with another body: not valid, as expected.")


def _signing_domains(records: Mapping[str, str]) -> list[str]:
    """Return the domains that have a key record."""
    keys = [name for name, value in records.items() if value.startswith("v=DKIM1")]
    domains = sorted({name.partition("._domainkey.")[2].rstrip(".") for name in keys})
    if not domains:
        raise DemoFailed("dkim.records shows no key record")
    return domains


def _summary(run: salt.Run) -> str:
    """Return the states that changed something, and the number of unchanged states."""
    lines = [
        f"{state.milliseconds / 1000:6.1f} s  {state.sls:<20} {state.function:<30} {state.id}"
        for state in run.changed
    ]
    rest = len(run.states) - len(run.changed)
    counts = f"{len(run.states)} states: {len(run.changed)} changed something, {rest} unchanged"
    return "\n".join([*lines, f"{counts}, {len(run.failed)} failed"])


def _show(text: str) -> None:
    print(textwrap.indent(text.rstrip("\n"), INDENT), flush=True)


def _fail(progress: Progress, reason: str, status: int = 1) -> int:
    print("\nWhere the time went:", progress.table(), "", f"DEMO FAILED: {reason}", sep="\n")
    return status


if __name__ == "__main__":
    with signals.as_exceptions():
        sys.exit(main())
