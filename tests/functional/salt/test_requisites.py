"""
Every state of the formula depends on dkim.check. Salt renders and compiles the SLS files.

After a failed check no other state runs, with any pillar.
"""

import copy
import itertools
import sys

import dkim_formula.health.commands as monitoring
import jinja2
import pytest
import salt.state
from dkim_formula import settings
from functional.salt_loaders import TREE, minion_options, stand_in
from hypothesis import HealthCheck, given
from support.fuzz import PILLARS, changed_pillar, examples

pytestmark = pytest.mark.one_release

CHECK = "dkim.check"
SLS = sorted(
    ".".join(path.relative_to(TREE).with_suffix("").parts).removesuffix(".init")
    for path in (TREE / "dkim").rglob("*.sls")
)
# Only the master renders these. An orchestration applies the others.
MASTERS = ("dkim.orchestrate.", "dkim.reactor.")
ALONE = [sls for sls in SLS if not sls.endswith(".clean") and not sls.startswith(MASTERS)]
REMOVING = [sls for sls in SLS if sls.endswith(".clean")]

# A state with these requisites runs only if they succeed.
STOPPING = ("require", "watch")
# A state with these runs only if they change something. A state that does not run changes nothing.
CHANGING = ("onchanges", "prereq")

VALID = {"domains": ["example.com"]}
MONITORED = {
    "beacon": True,
    "textfile": "/var/lib/prometheus/node-exporter",
    "report": {"path": "/var/www/dkim/index.html", "group": "www-data"},
}
ELSEWHERE = {
    "host": "db.example.com",
    "manage": False,
    "reader": {"auth": "password", "password": "word"},
}
SHAPES = [
    {**VALID, **changed}
    for changed in (
        {},
        {"defaults": {"algorithm": ["rsa", "ed25519"]}},
        {"monitoring": MONITORED},
        {"monitoring": {"beacon": True}},
        {"database": ELSEWHERE},
        {"database": {**ELSEWHERE, "reader": {"auth": "cert", "sslcert": "/c", "sslkey": "/k"}}},
        {"database": {"manage": False, "user": "me"}},
        {"fleet": {"database": "db1", "mail": "mail*"}},
        {"dns": {"publish": "rfc2136"}, "rotation": {"schedule": "1h", "automatic": True}},
        {"lookup": {"opendkim_service": "signer", "opendkim_config": "/etc/opendkim/o.conf"}},
    )
]
# The files and folders of the machine decide which states exist.
MACHINES = list(itertools.product((True, False), (True, False)))


class Formula:
    """The formula's SLS files on a minion whose pillar and machine a test chooses."""

    def __init__(self, high, folder, monkeypatch):
        self._high = high
        self._patch = monkeypatch
        leftovers = folder / "dkim-metrics.service"
        left = folder / "dkim.prom"
        left.write_text("")
        leftovers.write_text(f"ExecStart=salt-call dkim.write_metrics {left}\n")
        monkeypatch.setattr(monitoring, "UNIT", str(leftovers))
        page = folder / "page.html"
        page.write_text("")
        (folder / "dkim-report.service").write_text(f"ExecStart=salt-call dkim.report {page}\n")
        monkeypatch.setattr(monitoring, "REPORT_UNIT", str(folder / "dkim-report.service"))

    def machine(self, files: bool, folders: bool) -> None:
        """Set whether every file, and every folder, that an SLS asks for exists."""
        stand_in(
            self._patch,
            self._high.state.functions,
            {
                "file.file_exists": lambda path: files,
                "file.directory_exists": lambda path: folders,
                "file.readdir": lambda path: [".", ".."],
                "cmd.retcode": lambda *args, **kwargs: 0 if files else 1,
            },
        )

    def set_pillar(self, given: object) -> None:
        """Set pillar ``dkim``."""
        # A loader keeps the mapping that it was made with, and rendering makes new loaders.
        state = self._high.state
        for pillar in (state.opts["pillar"], state.functions.pack["__pillar__"]):
            pillar["dkim"] = given

    def problems(self) -> list[str]:
        """Return the problems that dkim.check finds."""
        return self._high.state.functions["dkim.check"]()["problems"]

    def high(self, sls: str) -> dict:
        """Return the states of an SLS and of its includes, before the compiler."""
        self._high.building_highstate = salt.state.HashableOrderedDict()
        high, errors = self._high.render_highstate({"base": [sls]})
        assert errors == []
        return high

    def chunks(self, sls: str) -> list[dict]:
        """Return the compiled states."""
        state = self._high.state
        high, errors = state.reconcile_extend(self.high(sls))
        assert errors == []
        assert state.verify_high(high) == []
        high, errors = state.requisite_in(high)
        assert errors == []
        chunks, errors = state.compile_high_data(high)
        assert errors == []
        return chunks

    def run(self, sls: str) -> dict[str, dict]:
        """Run the states and return their results. Tests run only states that a check stops."""
        return self._high.state.call_high(self.high(sls))


def compile_once(compile_template):
    """Cache Jinja's compiling function for all of Salt's environments, which are alike."""
    compiled = {}

    def compile_it(environment, *source, **options):
        key = (source, *options.items())
        if key not in compiled:
            compiled[key] = compile_template(environment, *source, **options)
        return compiled[key]

    return compile_it


@pytest.fixture(scope="module")
def high(tmp_path_factory):
    """Salt's highstate with its loaders. Templates are compiled once, as that takes seconds."""
    options = minion_options(tmp_path_factory.mktemp("salt"))
    options.update(file_roots={"base": [str(TREE)]}, pillar={"dkim": {}})
    options["grains"]["pythonexecutable"] = sys.executable
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compile_once(jinja2.Environment.compile))
        yield salt.state.HighState(options, initial_pillar=options["pillar"])


@pytest.fixture
def formula(high, tmp_path, monkeypatch):
    return Formula(high, tmp_path, monkeypatch)


def targets(chunk, chunks, kinds):
    """Return the states that a state's requisites of these kinds name. An SLS names its states."""
    found = []
    for kind in kinds:
        for requisite in chunk.get(kind, ()):
            if isinstance(requisite, str):
                found += [other for other in chunks if other["__id__"] == requisite]
                continue
            ((module, name),) = requisite.items()
            found += [
                other
                for other in chunks
                if (module == "sls" and other["__sls__"] == name)
                or (other["state"] == module and name in (other["__id__"], other["name"]))
            ]
    return found


def unguarded(chunks):
    """Return the names of states that would run although the check fails."""
    guarded = {id(chunk): is_check(chunk) for chunk in chunks}
    stopping = {id(chunk): targets(chunk, chunks, STOPPING) for chunk in chunks}
    changing = {id(chunk): targets(chunk, chunks, CHANGING) for chunk in chunks}

    def is_guarded(chunk):
        if any(guarded[id(other)] for other in stopping[id(chunk)]):
            return True
        others = changing[id(chunk)]
        return bool(others) and all(guarded[id(other)] for other in others)

    waiting = [chunk for chunk in chunks if not is_check(chunk)]
    while settled := [chunk for chunk in waiting if is_guarded(chunk)]:
        for chunk in settled:
            guarded[id(chunk)] = True
        waiting = [chunk for chunk in waiting if not guarded[id(chunk)]]
    return [chunk["__id__"] for chunk in waiting]


def is_check(chunk):
    return (chunk["state"], chunk["fun"]) == ("dkim", "checked")


def ran(results):
    """Return the states that ran. Salt marks those that did not."""
    return [tag for tag, result in results.items() if result.get("__state_ran__", True)]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("pillar", SHAPES)
def test_every_state_depends_on_the_check(formula, pillar, machine):
    formula.machine(*machine)
    formula.set_pillar(copy.deepcopy(pillar))
    chunks = formula.chunks("dkim")
    assert [chunk for chunk in chunks if is_check(chunk)]
    assert unguarded(chunks) == []


@pytest.mark.parametrize("sls", ALONE)
@pytest.mark.parametrize("pillar", SHAPES[:2])
def test_every_state_of_a_single_sls_depends_on_the_check(formula, pillar, sls):
    formula.machine(True, True)
    formula.set_pillar(copy.deepcopy(pillar))
    chunks = formula.chunks(sls)
    assert [chunk for chunk in chunks if is_check(chunk)]
    assert unguarded(chunks) == []


FLEET = {**VALID, "fleet": {"database": "db1", "mail": "mail*"}}


@pytest.mark.parametrize("sls", ["dkim", "dkim.database"])
def test_only_the_last_steps_of_a_fleets_roll_out_remove_former_roles(formula, sls):
    def removing(pillar, sls):
        formula.set_pillar(copy.deepcopy(pillar))
        return [
            chunk["__id__"]
            for chunk in formula.chunks(sls)
            if chunk["fun"] == "former_roles_absent"
            or (chunk["fun"] == "access_present" and not chunk.get("keep_former"))
        ]

    formula.machine(True, True)
    assert removing(VALID, sls)
    assert removing(FLEET, sls) == []
    assert removing(FLEET, "dkim.database.former") == [
        "Roles of former settings are gone",
        "No role of former settings can log in",
    ]


@pytest.mark.parametrize("pillar", PILLARS)
def test_every_state_of_the_example_pillar_depends_on_the_check(formula, pillar):
    formula.machine(True, True)
    formula.set_pillar(copy.deepcopy(pillar))
    assert unguarded(formula.chunks("dkim")) == []


@examples(10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed_pillar())
def test_every_state_depends_on_the_check_with_any_pillar(formula, pillar):
    formula.machine(True, True)
    formula.set_pillar(pillar)
    assert unguarded(formula.chunks("dkim")) == []
    assert set(settings.read(pillar).problems) <= set(formula.problems())


def test_state_without_the_requisite_is_found(formula):
    formula.machine(True, True)
    formula.set_pillar(VALID)
    chunks = formula.chunks("dkim")
    (stray,) = [chunk for chunk in chunks if chunk["__id__"] == "Postfix is installed"]
    del stray["require"]
    assert unguarded(chunks) == ["Postfix is installed", "Postfix's processes may enter its chroot"]


BROKEN = [
    None,
    {},
    "dkim",
    [],
    {**VALID, "defaults": {"algorithm": ["rsa", "ed25518"]}},
    *({**shape, "databse": {}} for shape in SHAPES),
    *({**shape, "lookup": {"postfix_chroot": ["/var"]}} for shape in SHAPES[:2]),
]


@pytest.mark.parametrize(
    ("pillar", "sls", "machine"),
    [
        *((pillar, "dkim", MACHINES[0]) for pillar in BROKEN),
        *(({}, sls, MACHINES[0]) for sls in ALONE),
        *(({}, "dkim", machine) for machine in MACHINES[1:]),
    ],
)
def test_no_state_runs_after_a_failed_check(formula, pillar, sls, machine):
    formula.machine(*machine)
    formula.set_pillar(copy.deepcopy(pillar))
    results = formula.run(sls)
    check = "The DKIM settings are valid"
    assert ran(results) == [f"dkim_|-{check}_|-{check}_|-checked"]
    assert all(result["changes"] == {} for result in results.values())


@pytest.mark.parametrize("sls", ["dkim", "dkim.mail", "dkim.opendkim", "dkim.opendkim.unused"])
@pytest.mark.parametrize("pillar", [{"domains": {}}, {"database": {"manage": False, "port": 1}}])
def test_pillar_without_domains_stops_no_daemon(formula, tmp_path, pillar, sls):
    (tmp_path / "opendkim-ed25519.conf").write_text("")
    formula.machine(True, True)
    lookup = {"opendkim_config": str(tmp_path / "opendkim.conf")}
    formula.set_pillar({"lookup": lookup, **copy.deepcopy(pillar)})
    assert any("would stop opendkim-ed25519" in text for text in formula.problems())
    assert "opendkim-ed25519 is stopped" in {chunk["__id__"] for chunk in formula.chunks(sls)}
    check = "The DKIM settings are valid"
    assert ran(formula.run(sls)) == [f"dkim_|-{check}_|-{check}_|-checked"]


@pytest.mark.parametrize("sls", REMOVING)
@pytest.mark.parametrize("pillar", [VALID, *BROKEN[:5]])
def test_removal_depends_on_no_check(formula, pillar, sls):
    formula.machine(True, True)
    formula.set_pillar(copy.deepcopy(pillar))
    chunks = formula.chunks(sls)
    assert chunks
    assert not [chunk for chunk in chunks if is_check(chunk)]
