"""The user's own program: its input, and programs that fail, hang, report falsely or print."""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from dkim_formula.dns import check
from dkim_formula.dns.changes import Publisher
from dkim_formula.dns.planned import Task
from dkim_formula.dns.query import run
from dkim_formula.records import dmarc_record, key_record, spf_record
from dkim_formula.settings.model import Dmarc, Dns, Zone
from support.nameserver import Nameserver

pytestmark = pytest.mark.one_release

FOREIGN = """\
@ 300 TXT "google-site-verification=foreign"
_dmarc 300 TXT "v=DMARC1; p=none; rua=mailto:foreign@example.com"
*.wild 300 TXT "anything"
alias._domainkey 300 CNAME elsewhere
old._domainkey 300 TXT "v=DKIM1; p=MIIBold"
"""
RECORD = key_record("example.com", "s1", "rsa", "MIIB" * 98)
SPF = spf_record("example.com", "v=spf1 mx -all")
DMARC = dmarc_record("example.com", Dmarc())

# Writes its arguments and input to a file beside itself, one file per call.
NOTES = """
import json, os, sys
folder = os.path.dirname(sys.argv[0])
calls = len([one for one in os.listdir(folder) if one.startswith("call")])
text = sys.stdin.read()
with open(f"{folder}/call{calls}", "w") as file:
    json.dump({"stdin": text, "argv": sys.argv[1:], "environ": dict(os.environ)}, file)
"""


@pytest.fixture
def server():
    with Nameserver({"example.com": FOREIGN}) as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    """Create a folder that only root can write, like all folders above it."""
    made = Path("/root") / f"publish-{tmp_path.name}-{os.getpid()}"
    made.mkdir(mode=0o755)
    yield made
    for one in made.iterdir():
        one.unlink()
    made.rmdir()


def program(folder, text, mode=0o755):
    path = folder / "publish"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(mode)
    return str(path)


def settings_for(*servers, command, deadline=20):
    zone = Zone(nameservers=tuple(map(str, servers)))
    return Dns(
        publish="command",
        command=command,
        zones={"example.com": zone},
        timeout=1,
        deadline=deadline,
    )


def task(record, *published):
    return Task(record.name, "TXT", record.domain, record, published, record.domain)


def removal(record):
    return Task(record.name, "TXT", record.domain, None, (record.value,), record.domain)


def publish(dns, *tasks, adopt=False):
    with Publisher(dns) as publisher:
        done = list(publisher.apply(publisher.plan(tasks, adopt)))
    assert all(one.problem.isprintable() for one in done)
    return [next(one for one in done if one.task is task) for task in tasks]


def calls(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("call*"))]


def test_one_call_contains_exactly_all_changes(server, folder):
    dns = settings_for(server, command=program(folder, NOTES))
    old = key_record("example.com", "old", "rsa", "MIIBold")
    old = replace(old, value="v=DKIM1; p=MIIBold")
    done = publish(dns, task(RECORD), task(SPF), removal(old))
    assert [one.problem for one in done] == ["", "", ""]
    (call,) = calls(folder)
    assert call["argv"] == []
    assert set(call["environ"]) <= {"PATH", "LANG", "LC_CTYPE", "HOME"}
    spf = ["google-site-verification=foreign", SPF.value]
    assert json.loads(call["stdin"]) == {
        "format": 1,
        "changes": [
            change(RECORD.name, RECORD.ttl, [RECORD.value], [], [RECORD.value]),
            # The records of one name and type have one TTL: that of the other text.
            change("example.com", 300, [SPF.value], [], spf),
            change(old.name, None, [], [old.value], []),
        ],
    }


def test_ttl_of_other_texts_stays_when_a_record_is_removed(folder):
    zone = f'{FOREIGN}@ 300 TXT "{SPF.value}"\n'
    with Nameserver({"example.com": zone}) as server:
        (done,) = publish(settings_for(server, command=program(folder, NOTES)), removal(SPF))
    assert done.problem == ""
    (made,) = json.loads(calls(folder)[0]["stdin"])["changes"]
    foreign = "google-site-verification=foreign"
    assert made == change("example.com", 300, [], [SPF.value], [foreign])


def test_program_is_not_started_after_the_deadline(server, folder):
    dns = settings_for(server, command=program(folder, NOTES), deadline=1)
    with Publisher(dns) as publisher:
        planned = publisher.plan([task(RECORD)])
        time.sleep(1)
        (done,) = publisher.apply(planned)
    assert "was not started, because 1 s (dkim:dns:deadline) were over" in done.problem
    assert "may have been published" not in done.problem
    assert calls(folder) == []


def change(name, ttl, add, remove, values):
    return {
        "zone": "example.com",
        "name": name,
        "type": "TXT",
        "ttl": ttl,
        "add": add,
        "remove": remove,
        "values": values,
    }


def test_program_is_not_called_without_changes(server, folder):
    dns = settings_for(server, command=program(folder, NOTES))
    same = replace(DMARC, value="v=DMARC1; p=none; rua=mailto:foreign@example.com", ttl=60)
    (done,) = publish(dns, task(same, same.value))
    assert (done.step, done.problem, calls(folder)) == (None, "", [])


def test_preview_does_not_call_the_program(server, folder):
    with Publisher(settings_for(server, command=program(folder, NOTES))) as publisher:
        (planned,) = publisher.preview([task(RECORD)])
    assert (planned.step.add, planned.problem, calls(folder)) == (RECORD.value.encode(), "", [])


def test_preview_reports_a_program_that_a_run_would_refuse(server, folder):
    dns = settings_for(server, command=program(folder, NOTES, 0o777))
    with Publisher(dns) as publisher:
        (planned,) = publisher.preview([task(RECORD)])
    (done,) = publish(dns, task(RECORD))
    assert planned.problem == done.problem != ""


def test_other_records_are_reported_and_stay_out_of_the_call(server, folder):
    dns = settings_for(server, command=program(folder, NOTES))
    alias = key_record("example.com", "alias", "rsa", "MIIB")
    done = publish(dns, task(DMARC), task(alias), task(RECORD))
    assert "another TXT record exists" in done[0].problem
    assert "a CNAME to elsewhere.example.com exists" in done[1].problem
    (call,) = calls(folder)
    assert [one["name"] for one in json.loads(call["stdin"])["changes"]] == [RECORD.name]
    (done,) = publish(dns, task(DMARC), adopt=True)
    assert done.problem == ""
    assert json.loads(calls(folder)[1]["stdin"])["changes"][0]["remove"] == [
        "v=DMARC1; p=none; rua=mailto:foreign@example.com"
    ]


def test_text_of_a_wildcard_does_not_count_as_a_record(server, folder):
    dns = settings_for(server, command=program(folder, NOTES))
    record = key_record("wild.example.com", "s1", "rsa", "MIIB")
    assert publish(dns, task(record))[0].problem == ""
    (made,) = json.loads(calls(folder)[0]["stdin"])["changes"]
    assert (made["remove"], made["values"]) == ([], [record.value])


def test_server_that_lags_behind_is_ignored(folder):
    newer = FOREIGN + f'{RECORD.name}. 60 TXT "{RECORD.value[:200]}" "{RECORD.value[200:]}"\n'
    with Nameserver({"example.com": FOREIGN}) as old, Nameserver({"example.com": newer}) as new:
        dns = settings_for(old, new, command=program(folder, NOTES))
        (done,) = publish(dns, task(RECORD))
        assert "the servers of the zone example.com differ at this name" in done.problem
        (zone,) = new.zones.values()
        soa = zone.find_rdataset("example.com.", "SOA")
        (rdata,) = soa
        soa.clear()
        soa.add(rdata.replace(serial=rdata.serial + 1), 60)
        (done,) = publish(dns, task(RECORD))
        assert (done.step, done.problem) == (None, "")
    assert calls(folder) == []


def test_silent_server_beside_an_answering_server_is_ignored(server, folder):
    with Nameserver({"example.com": FOREIGN}) as other:
        other.silent = {"udp", "tcp"}
        dns = settings_for(other, server, command=program(folder, NOTES))
        assert publish(dns, task(RECORD))[0].problem == ""
        server.silent = {"udp", "tcp"}
        (done,) = publish(dns, task(RECORD))
    assert "no server of the zone example.com has an answer" in done.problem
    assert len(calls(folder)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "import sys; sys.exit('first\\nno such zone\\x1b[31m\\n')",
            "failed (exit status 1): first / no such zone?[31m",
        ),
        ("import sys; sys.exit(3)", "failed (exit status 3)"),
        ("import os; os.kill(os.getpid(), 9)", "failed (signal 9)"),
        (
            "import sys; sys.exit('token ' + 'a1B2' * 12 + ' at https://u:pass-word@h/')",
            "failed (exit status 1): token <secret> at https://u:<secret>@h/",
        ),
        (
            "import sys; sys.stderr.write('x ' * 5_000_000); sys.exit(1)",
            "failed (exit status 1): ",
        ),
        ("import sys; sys.stdin.close(); sys.exit(4)", "failed (exit status 4)"),
    ],
)
def test_failure_of_the_program_is_reported_with_limited_output(server, folder, text, expected):
    done = publish(settings_for(server, command=program(folder, text)), task(RECORD), task(SPF))
    for one in done:
        assert one.problem.startswith(f"program {folder}/publish: {expected}")
        assert len(one.problem) < 500
        assert not one.sent


def test_output_of_ten_megabytes_is_read_to_its_end(server, folder):
    text = "import sys; sys.stdin.read(); sys.stdout.write('[' * 10_000_000)"
    (done,) = publish(settings_for(server, command=program(folder, text)), task(RECORD))
    assert (done.problem, done.sent) == ("", True)


@pytest.mark.parametrize(
    "text",
    [
        "import time; time.sleep(600)",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
        "import sys\nwhile True: sys.stdout.write('x' * 65536)",
    ],
)
def test_hanging_program_is_stopped_with_its_children(server, folder, text):
    note = "open(os.path.dirname(sys.argv[0]) + '/pid', 'w').write(str(os.getpid()))"
    text = f"import os, sys\n{note}\n{text}"
    begin = time.monotonic()
    dns = settings_for(server, command=program(folder, text), deadline=1)
    (done,) = publish(dns, task(RECORD))
    assert time.monotonic() - begin < 15
    assert "did not end within 1 s (dkim:dns:deadline) and was ended" in done.problem
    assert not Path(f"/proc/{(folder / 'pid').read_text()}").exists()


def test_child_that_a_program_leaves_running_does_not_block_the_run(server, folder):
    text = "import subprocess, sys\nsys.stdin.read()\nsubprocess.Popen(['sleep', '600'])"
    begin = time.monotonic()
    (done,) = publish(settings_for(server, command=program(folder, text)), task(RECORD))
    assert time.monotonic() - begin < 15
    assert (done.problem, done.sent) == ("", True)


def test_single_refusals_are_reported_at_their_names(server, folder):
    reported = {"problems": {f"{SPF.name} TXT": "the zone\nis locked", "other TXT": "x"}}
    text = f"import sys; sys.stdin.read(); print({json.dumps(json.dumps(reported))})"
    dns = settings_for(server, command=program(folder, text))
    refused, done = publish(dns, task(SPF), task(RECORD))
    assert refused.problem == f"program {folder}/publish: the zone is locked"
    assert (done.problem, done.sent) == ("", True)


def test_false_success_of_the_program_is_detected(server, folder):
    """The program reports success without a change. The DNS check of rotations detects this."""
    dns = settings_for(server, command=program(folder, "import sys; sys.stdin.read()"))
    assert publish(dns, task(RECORD))[0].sent
    (checked,) = run(check.check([RECORD], dns))
    assert checked.verdict == "missing"
    # The next run calls the program again.
    assert publish(dns, task(RECORD))[0].step is not None


@pytest.fixture
def other_folder(tmp_path):
    """Create a folder that another account owns, below folders that only root can write."""
    made = Path("/root") / f"other-{tmp_path.name}-{os.getpid()}"
    made.mkdir(mode=0o755)
    os.chown(made, 65534, 0)
    yield made
    for one in made.iterdir():
        one.unlink()
    made.rmdir()


@pytest.mark.parametrize("links", ["a link", "a link to a link", "a link to itself"])
def test_program_behind_a_link_that_another_user_can_change_is_not_run(
    server, folder, other_folder, links
):
    target, link = program(folder, NOTES), other_folder / "link"
    path = link
    if links == "a link to a link":
        path = folder / "link"
        path.symlink_to(link)
    link.symlink_to(link if links == "a link to itself" else target)
    (done,) = publish(settings_for(server, command=str(path)), task(RECORD))
    assert done.problem.startswith("dkim:dns:command: ")
    assert calls(folder) == []


def test_program_behind_links_that_only_root_can_change_is_run(server, folder):
    os.symlink(folder.name + "/../" + folder.name, folder.parent / f"{folder.name}-link")
    try:
        (folder / "last").symlink_to(program(folder, NOTES))
        path = folder.parent / f"{folder.name}-link" / "last"
        (done,) = publish(settings_for(server, command=str(path)), task(RECORD))
        assert (done.problem, done.sent) == ("", True)
    finally:
        (folder.parent / f"{folder.name}-link").unlink()


@pytest.mark.parametrize("wrong", ["missing", "mode", "owner", "others", "folder", "directory"])
def test_program_that_another_user_can_change_is_not_run(server, folder, wrong, tmp_path):
    path = Path(program(folder, NOTES))
    if wrong == "missing":
        path = folder / "nothing"
    elif wrong == "mode":
        path.chmod(0o644)
    elif wrong == "owner":
        os.chown(path, 65534, 0)
    elif wrong == "others":
        path.chmod(0o777)
    elif wrong == "folder":
        folder.chmod(0o777)
    else:
        path = folder
    (done,) = publish(settings_for(server, command=str(path)), task(RECORD))
    assert done.problem.startswith("dkim:dns:command: ")
    assert calls(folder) == []
    folder.chmod(0o755)
