"""
A server of salt-call whose imports are done: each call is a fork of this process.

Half of a call's processor time is spent on imports (measured: 0.5 of 1.0 s). The imports are those
of Salt and of the formula's library. A call gets the arguments, the environment, the folder, the
umask and the three standard files of its client. It loads its own modules, pillar and loaders.
"""

import errno
import gc
import json
import os
import pkgutil
import signal
import socket
import sys
from importlib import import_module
from pathlib import Path

from salt.scripts import salt_call

ADDRESS = "\0dkim-formula-salt"
LIBRARY = Path(__file__).parents[3] / "_utils"
# Modules that salt.scripts imports only in a call.
SALT = (
    "salt.cli.call",
    "salt.state",
    "salt.utils.dns",
    "salt.utils.gitfs",
    "salt.utils.jinja",
    "salt.utils.schedule",
)


def import_all():
    """Import what calls need. The library comes from the tree, not from Salt's copy of it."""
    for name in SALT:
        import_module(name)
    sys.path.insert(0, str(LIBRARY))
    for module in pkgutil.walk_packages([str(LIBRARY)]):
        import_module(module.name)
    sys.path.remove(str(LIBRARY))


def main():
    """Listen, fork into the background, and serve calls."""
    import_all()
    # This process must not hold the locks of the bin/highstate that started it.
    os.closerange(3, 256)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listening.bind(ADDRESS)
    except OSError as error:
        return 0 if error.errno == errno.EADDRINUSE else str(error)
    listening.listen(100)
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    os.close(nothing)
    gc.freeze()
    # The kernel reaps the processes that serve: this process does not wait for them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return serve(connection)
        connection.close()


def serve(connection):
    """Run one call in its own process, and send its exit status to the client."""
    message, files, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    worker = os.fork()
    if worker == 0:
        connection.close()
        return call(json.loads(message), files)
    for file in files:
        os.close(file)
    _, status = os.waitpid(worker, 0)
    connection.send(str(os.waitstatus_to_exitcode(status) % 256).encode())
    os._exit(0)


def call(given, files):
    """Take over the client's environment, and run as /opt/salt/bin/salt-call does."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(given["folder"])
    os.umask(given["umask"])
    os.environ.clear()
    os.environ.update(given["env"])
    sys.argv = ["/opt/salt/bin/salt-call", *given["argv"][1:]]
    return salt_call()


if __name__ == "__main__":
    sys.exit(main())
