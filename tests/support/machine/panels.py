"""
An additional layer with PostfixAdmin 3 and 4 and Modoboa, which keep mail domains in PostgreSQL.

Their own upgrade scripts and migrations build the tables for the tests. The layer is for one
release only, because the programs are the same on every release.
"""

from pathlib import Path

from support.machine import further
from support.progress import SILENT, Progress

RELEASE = "bookworm"
MODOBOA = "modoboa[postgresql]==2.12.0"

# PostfixAdmin 3 is the package of Debian 12. PostfixAdmin 4 is the package of Debian 14, unpacked
# with the PHP libraries that it links to. Neither is installed, since the tests need no web server.
# The archive of an unreleased Debian may have expired signatures.
SCRIPT = f"""\
set -eu
export DEBIAN_FRONTEND=noninteractive
echo 'exit 101' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
cp /etc/apt/sources.list /etc/pip.conf /tmp
rm /etc/pip.conf
cp /recipe/sources.list /etc/apt/sources.list
apt-get update
apt-get install --yes --no-install-recommends php-cli php-pgsql php-mbstring redis-server librrd8
mkdir /tmp/3 /tmp/4
cd /tmp/3
apt-get download postfixadmin
apt-get install --yes --no-install-recommends gcc libffi-dev librrd-dev python3-dev
python3 -m venv /opt/modoboa
/opt/modoboa/bin/pip install '{MODOBOA}'
apt-get purge --yes --auto-remove gcc libffi-dev librrd-dev python3-dev
sed 's/{RELEASE}/forky/' /recipe/sources.list > /etc/apt/sources.list
apt-get update -o Acquire::Check-Valid-Until=false
cd /tmp/4
apt-get download postfixadmin smarty4 smarty-lexer php-psr-clock php-bacon-qr-code \\
    php-dasprid-enum php-symfony-polyfill-ctype php-symfony-polyfill-mbstring \\
    php-symfony-deprecation-contracts
for version in 3 4; do
    mkdir /tmp/tree
    for package in /tmp/$version/*.deb; do
        dpkg-deb --extract "$package" /tmp/tree
    done
    if [ -d /tmp/tree/usr/share/php ]; then
        cp --archive /tmp/tree/usr/share/php /usr/share
    fi
    target=/usr/share/postfixadmin-$version
    mv /tmp/tree/usr/share/postfixadmin $target
    rm $target/config.inc.php $target/config.local.php $target/templates_c
    cp /tmp/tree/etc/postfixadmin/config.inc.php $target
    mkdir -m 1777 $target/templates_c
    echo '<?php $dbtype = $dbuser = $dbpass = $dbname = "";' > $target/dbconfig.inc.php
    rm -r /tmp/tree
done
mv /tmp/sources.list /etc/apt
mv /tmp/pip.conf /etc
apt-get clean
rm -rf /tmp/3 /tmp/4 /var/lib/apt/lists/* /usr/sbin/policy-rc.d /recipe
"""


def layers(progress: Progress = SILENT) -> list[Path]:
    """
    Return the layers of a machine with the programs, uppermost first; missing layers are made.

    Raises the exceptions of :func:`support.machine.further.layers`.
    """
    return further.layers(RELEASE, "panels", SCRIPT, progress)
