"""
A further layer with another release of Salt in place of the one of ``requirements.txt``.

Salt 3006 and 3007 run on the Python of Debian 12; Debian 13 brings Python 3.13, for which neither
release has wheels.
"""

from pathlib import Path

from support.machine import further
from support.progress import SILENT, Progress

RELEASE = "bookworm"
VERSIONS = ("3006.26", "3007.16")

# Without the packages that the formula installs itself: dkim/python has to do it on each release.
SCRIPT = """\
set -eu
export DEBIAN_FRONTEND=noninteractive
echo 'exit 101' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
cp /etc/apt/sources.list /etc/pip.conf /tmp
rm /etc/pip.conf
cp /recipe/sources.list /etc/apt/sources.list
apt-get update
apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev
rm -rf /opt/salt
python3 -m venv /opt/salt
/opt/salt/bin/pip install 'salt=={version}'
apt-get purge --yes --auto-remove gcc libc6-dev python3-dev
mv /tmp/sources.list /etc/apt
mv /tmp/pip.conf /etc
apt-get clean
rm -rf /var/lib/apt/lists/* /usr/sbin/policy-rc.d /recipe
"""


def layers(version: str, progress: Progress = SILENT) -> list[Path]:
    """
    The layers of an equipped machine with that Salt, uppermost first; made where they are missing.

    Raises what :func:`support.machine.further.layers` does.
    """
    script = SCRIPT.format(version=version)
    return further.layers(RELEASE, f"salt-{version}", script, progress)
