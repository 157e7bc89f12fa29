"""The cached image of a release: two layers, each made once per recipe."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from support.machine import host, recipe
from support.machine.overlay import Overlay
from support.progress import SILENT, Progress

# Variables that pip may need to reach its index from inside the scratch tree.
PASSED_ON = (
    "PIP_DEFAULT_TIMEOUT",
    "PIP_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
REPORT_EVERY = 20  # seconds
SCRIPTS = Path("/usr/share/debootstrap/scripts")
UNUSED = 24 * 3600  # seconds
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


class ImageError(Exception):
    """An image that could not be built; the text ends with the last lines of the log."""


def layers(release: str, progress: Progress = SILENT) -> list[Path]:
    """
    Return the layers of a release's image, uppermost first; missing layers are built.

    release
        ``bookworm``, ``trixie``, or ``forky``, the next one.
    progress
        Shows every step of a build.

    Raises :class:`ImageError`, and ``ValueError`` for a release without a recipe.
    """
    if release not in recipe.KNOWN:
        raise ValueError(f"no such release: {release!r}; use one of {', '.join(recipe.KNOWN)}")
    system = with_layer(
        release,
        [],
        "system",
        recipe.system_key(release),
        "base system by debootstrap",
        lambda target: _build_system(release, target, progress),
        progress,
    )
    return with_layer(
        release,
        system,
        "software",
        recipe.software_key(release),
        "package archive, wheels, Salt",
        lambda target: _build_software(system[0], target, progress),
        progress,
    )


def with_layer(
    release: str,
    below: list[Path],
    name: str,
    key: str,
    what: str,
    build: Callable[[Path], None],
    progress: Progress,
) -> list[Path]:
    """
    Return layers with one more, uppermost first. If the layer is missing, it is built.

    name
        The name of the layer.
    key
        The digest of the layer's recipe.
    what
        The description of the layer that ``progress`` shows.
    build
        The function that makes the layer's folder at a path.
    """
    layer = host.cache() / "images" / release / f"{name}-{key}"
    with host.locked(f"{name}-{release}"):
        if not layer.is_dir():
            with progress.step(f"{release}: {what}"):
                build(layer)
        _in_use(layer.parent, f"{name}-*", layer)
    return [layer, *below]


def _build_system(release: str, target: Path, progress: Progress) -> None:
    tree = _scratch(target)
    include = ",".join(recipe.SYSTEM_PACKAGES)
    command = ["debootstrap", "--variant=minbase", f"--include={include}", release, str(tree)]
    if not (SCRIPTS / release).exists():
        # The mirror stays debootstrap's own; it is younger than this debootstrap.
        command += ["", str(SCRIPTS / "sid")]
    _run(command, target, progress, env=os.environ)
    shutil.rmtree(tree / "var/cache/apt/archives")
    (tree / "var/cache/apt/archives/partial").mkdir(parents=True)
    _write_files(tree, recipe.system_files(release))
    tree.rename(target)


def _build_software(system: Path, target: Path, progress: Progress) -> None:
    tree = _scratch(target)
    tree.mkdir(parents=True)
    scratch = Overlay([system], target.with_name("scratch"))
    # A killed build may have left its scratch tree, still mounted.
    scratch.remove()
    try:
        scratch.mount()
        offered = "".join(f"{' '.join(group)}\n" for group in recipe.OFFERED_PACKAGES)
        files = {"offered": offered, "script": recipe.SOFTWARE_SCRIPT, **recipe.requirements()}
        run_recipe(scratch.root, files, target, progress)
        for folder in recipe.SOFTWARE_FOLDERS:
            shutil.move(scratch.upper / folder, tree / folder)
    finally:
        scratch.remove()
    _write_files(tree, recipe.SOFTWARE_FILES)
    tree.rename(target)


def run_recipe(root: Path, files: Mapping[str, str], target: Path, progress: Progress) -> None:
    """
    Run a recipe in a scratch tree that shares the host's network.

    files
        The files in the tree's ``/recipe``; the recipe runs the file ``script``.
    target
        The layer that the recipe makes; its log is written beside it.

    Raises :class:`ImageError`.
    """
    (root / "recipe").mkdir()
    _write_files(root / "recipe", files)
    if CA_BUNDLE.exists():
        shutil.copy(CA_BUNDLE, root / CA_BUNDLE.relative_to("/"))
    _run(_script_command(root), target, progress, env=_script_environment())


def _script_command(root: Path) -> list[str]:
    wheels = host.cache() / "pip"
    wheels.mkdir(parents=True, exist_ok=True)
    passed = [name for name in PASSED_ON if name in os.environ]
    return [
        "systemd-nspawn",
        f"--directory={root}",
        f"--machine=dkim-build-{os.getpid()}",
        "--register=no",
        "--keep-unit",
        "--as-pid2",
        "--quiet",
        "--console=pipe",
        "--timezone=off",
        "--resolv-conf=copy-host",
        f"--bind={wheels}:/root/.cache/pip",
        f"--setenv=PIP_CERT={CA_BUNDLE}",
        f"--setenv=SSL_CERT_FILE={CA_BUNDLE}",
        "--setenv=PIP_DISABLE_PIP_VERSION_CHECK=1",
        *(f"--setenv={name}={os.environ[name]}" for name in passed),
        "/bin/sh",
        "/recipe/script",
    ]


def _script_environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}


def _scratch(target: Path) -> Path:
    """
    Return an unused path beside the target.

    The finished tree is renamed to the target, so that a layer is never incomplete.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    tree = target.with_name("new")
    if tree.exists():
        shutil.rmtree(tree)
    return tree


def _write_files(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)


def _run(
    command: Sequence[str],
    target: Path,
    progress: Progress,
    env: Mapping[str, str],
    every: int = 20,
) -> None:
    """Run a long command into a log, and show the log's last line every few seconds."""
    # Several layers of one release may be made at the same time.
    log = target.with_name(f"log-{target.name}")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env
        )
        reported = time.monotonic()
        while process.poll() is None:
            try:
                process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                if time.monotonic() - reported > REPORT_EVERY:
                    reported = time.monotonic()
                    progress.say(f"    {_last_lines(log, 1).strip()[:90]}")
    if process.returncode != 0:
        raise ImageError(f"{command[0]} failed ({process.returncode}):\n{_last_lines(log, 25)}")
    log.unlink()


def _last_lines(log: Path, count: int) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])


def _in_use(home: Path, pattern: str, layer: Path) -> None:
    """
    Note that a layer is in use, and remove layers of other recipes that were unused for a day.

    The day protects layers that another checkout on this host uses.
    """
    os.utime(layer)
    mounts = Path("/proc/self/mounts").read_text()
    for path in set(home.glob(pattern)) - {layer}:
        if str(path) not in mounts and path.stat().st_mtime < time.time() - UNUSED:
            shutil.rmtree(path)
