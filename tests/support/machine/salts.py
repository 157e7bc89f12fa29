"""
An additional layer with another release of Salt than ``requirements.txt`` names.

Salt 3006 and 3007 run on the Python of Debian 12. Neither release has wheels for Python 3.13 of
Debian 13.
"""

from pathlib import Path

from support.machine import further
from support.progress import SILENT, Progress

RELEASE = "bookworm"
VERSIONS = ("3006.26", "3007.16")

# Without the packages that the formula installs itself, so that dkim/python is tested with each
# release of Salt.
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
    Return the layers of an equipped machine with that Salt, uppermost first.

    Missing layers are made. Raises the exceptions of :func:`support.machine.further.layers`.
    """
    script = SCRIPT.format(version=version)
    return further.layers(RELEASE, f"salt-{version}", script, progress)
