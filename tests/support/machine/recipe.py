"""The recipe of a test machine's image. A change of the recipe makes a new image."""

import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

RELEASES = ("bookworm", "trixie")
# The next one, as it is in the archive today: for who asks for it.
PREVIEW = "forky"
KNOWN = (*RELEASES, PREVIEW)
HOSTNAME = "mail.example.net"

# A new server as an administrator gets it, without any package that the formula installs.
SYSTEM_PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "procps",
    "python3",
    "python3-venv",
    "systemd",
    "systemd-sysv",
)

# Downloaded with their dependencies, group by group; machines install them with apt-get.
OFFERED_PACKAGES = (
    ("postgresql", "libopendbx1-pgsql"),
    ("opendkim", "opendkim-tools", "miltertest"),
    ("postfix", "libsasl2-modules", "sasl2-bin"),
    ("swaks",),
    ("bind9", "bind9-utils", "bind9-dnsutils"),
    ("knot", "knot-dnssecutils", "knot-dnsutils", "nsd"),
    ("pdns-server", "pdns-backend-sqlite3"),
    ("python3-dev", "gcc", "make"),
    ("shellcheck", "openssl"),
    ("git",),
)

SYSTEM_FILES = {
    "etc/hostname": f"{HOSTNAME}\n",
    "etc/hosts": (
        "127.0.0.1 localhost\n"
        f"127.0.1.1 {HOSTNAME} {HOSTNAME.partition('.')[0]}\n"
        "::1 localhost ip6-localhost ip6-loopback\n"
    ),
    "etc/default/locale": "LANG=C.UTF-8\n",
    # Empty: every machine makes its own id at its first start (machine-id(5)).
    "etc/machine-id": "",
}

# A mirror may hold a state of it whose list of packages has run out.
PREVIEW_FILES = {"etc/apt/apt.conf.d/99preview": 'Acquire::Check-Valid-Until "false";\n'}

SOFTWARE_FILES = {
    "etc/apt/sources.list": "deb [trusted=yes] file:/srv/packages ./\n",
    "etc/pip.conf": "[global]\nno-index = true\nfind-links = /srv/wheels\n",
}

# Runs in a scratch copy of the system with the host's network. Only SOFTWARE_FOLDERS are kept, so
# compilers and caches stay out of the image.
SOFTWARE_SCRIPT = """\
set -eu
export DEBIAN_FRONTEND=noninteractive
echo 'exit 101' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get update
mkdir -p /srv/packages /srv/wheels
while read -r group; do
    # shellcheck disable=SC2086
    apt-get install --yes --download-only -o Dir::Cache::archives=/srv/packages $group </dev/null
done < /recipe/offered
rm -rf /srv/packages/partial /srv/packages/lock
apt-get install --yes --no-install-recommends apt-utils gcc libc6-dev make python3-dev
cd /srv/packages
apt-ftparchive packages . > Packages
apt-ftparchive release . > /tmp/Release
mv /tmp/Release Release
cd /
python3 -m venv /tmp/builder
/tmp/builder/bin/pip wheel --use-pep517 -w /srv/wheels \\
    -r /recipe/requirements.txt -r /recipe/tests-requirements.txt
for venv in salt tests; do
    python3 -m venv "/opt/$venv"
done
/opt/salt/bin/pip install --no-index --find-links /srv/wheels -r /recipe/requirements.txt
/opt/tests/bin/pip install --no-index --find-links /srv/wheels \\
    -r /recipe/requirements.txt -r /recipe/tests-requirements.txt
"""

SOFTWARE_FOLDERS = ("opt", "srv")


def requirements() -> dict[str, str]:
    """Return the two requirement files by their names beside the script."""
    return {
        "requirements.txt": (ROOT / "requirements.txt").read_text(),
        "tests-requirements.txt": (ROOT / "tests" / "requirements.txt").read_text(),
    }


def system_files(release: str) -> dict[str, str]:
    """Return the files that are written into the layer of debootstrap, by path."""
    return {**SYSTEM_FILES, **(PREVIEW_FILES if release == PREVIEW else {})}


def system_key(release: str) -> str:
    """Return the name of the layer that debootstrap makes."""
    return digest([release, SYSTEM_PACKAGES, system_files(release)])


def software_key(release: str) -> str:
    """Return the name of the layer with packages, wheels and Salt, over the system's layer."""
    parts = [OFFERED_PACKAGES, SOFTWARE_FILES, SOFTWARE_SCRIPT, SOFTWARE_FOLDERS, requirements()]
    return digest([system_key(release), parts])


def digest(value: object) -> str:
    """Return a short digest of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
