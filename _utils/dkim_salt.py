"""Between Salt and the library: the pillar in, the library's errors out as Salt's."""

import functools
import inspect
import logging

import salt.pillar
from dkim_formula import settings
from dkim_formula.converge import converge, failed
from dkim_formula.errors import FormulaError, InvalidValue, SeveralProblems
from dkim_formula.postgres import stand_in
from dkim_formula.settings import arguments
from dkim_formula.text import octets_shown
from salt.exceptions import CommandExecutionError, SaltInvocationError

log = logging.getLogger(__name__)

# The pillar of one run is one object, and a run asks for it a dozen times; reading a hundred
# thousand domains takes seconds. The object is kept beside what was read from it, so that no other
# can come to have its identity.
_last = {"given": None, "reading": None}


def translated(function):
    """
    Makes a function take its arguments as a person means them, and raise Salt's exceptions for the
    library's, with the same text.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise SaltInvocationError(f"{function.__name__}: {error}") from None
        try:
            given = arguments.as_meant(signature, given, _typed(function))
            with stand_in.collected() as said:
                found = octets_shown(function(*given.args, **given.kwargs))
            # Of a function whose return has no notes to carry them.
            for text in said:
                log.warning("%s: %s", function.__name__, text)
            return found
        except InvalidValue as error:
            raise SaltInvocationError(octets_shown(str(error))) from error
        except FormulaError as error:
            raise CommandExecutionError(octets_shown(str(error))) from error
        except OSError as error:
            # A full disk, a directory that is gone: of the machine, and not a fault of the library.
            raise CommandExecutionError(f"{error.filename or ''}: {error.strerror}") from error

    return call


def _typed(function):
    """
    The words of the command line, where this function is the one that ``salt-call`` was told to
    call: Salt hands on what YAML makes of each (salt.utils.args, yamlify_arg), and keeps the words.
    """
    opts = function.__globals__.get("__opts__") or {}
    called = str(opts.get("fun") or "").rpartition(".")[2] == function.__name__
    return (opts.get("arg") or ()) if called else ()


def read_pillar(pillar):
    """
    Pillar ``dkim`` as a ``settings.Reading``, with its problems.

    pillar
        ``__pillar__``. Not ``pillar.get``: from Salt 3008 that gives asterisks outside a renderer.
    """
    given = pillar.get("dkim")
    if _last["reading"] is None or _last["given"] is not given:
        _last.update(given=given, reading=settings.read(given))
    return _last["reading"]


def pillar_at_hand(opts, grains, pillar):
    """
    The pillar for a beacon. A minion without a master has an empty one until somebody has it
    refreshed, and gives that to its beacons (measured, Salt 3008.3, ``master_type: disable``); it
    is rendered anew at each call then.

    opts, grains, pillar
        ``__opts__``, ``__grains__``, ``__pillar__``.
    """
    if pillar or opts.get("file_client") != "local":
        return pillar
    return salt.pillar.get_pillar(opts, grains, opts["id"], opts["saltenv"]).compile_pillar()


def sound_settings(pillar):
    """Pillar ``dkim`` as ``settings.model.Settings``; raises SeveralProblems where it is wrong."""
    reading = read_pillar(pillar)
    if reading.problems:
        raise SeveralProblems(reading.problems)
    return reading.settings


def managed(opts, name, manage, **comments):
    """
    Return a state's return, from one execution function: with ``test=True`` it returns what it
    would change, else what it changed.
    """
    return converged(opts, name, lambda: manage(test=True), lambda: manage(test=False), **comments)


def converged(opts, name, look, change, **comments):
    """A state's return by :func:`dkim_formula.converge.converge`; an error is a failed state."""
    try:
        return converge(name, opts["test"], look, change, **comments)
    except (CommandExecutionError, SaltInvocationError, FormulaError) as error:
        return failed(name, error)
