"""The bridge between Salt and the library: the pillar is read, errors become Salt's exceptions."""

import functools
import inspect
import logging

import salt.pillar
from dkim_formula import calls, settings
from dkim_formula.converge import converge, failed
from dkim_formula.errors import FormulaError, InvalidValue, SeveralProblems
from dkim_formula.postgres import stand_in
from dkim_formula.settings import arguments
from dkim_formula.text import octets_shown
from salt.exceptions import CommandExecutionError, SaltInvocationError

log = logging.getLogger(__name__)

# The pillar of one run is one object, and a run reads it a dozen times. Reading a hundred thousand
# domains takes seconds. The object is kept beside the reading, so that no later object can get the
# same identity.
_last = {"given": None, "reading": None}


def translated(function):
    """
    Decorate an execution function: its arguments are converted to what a person means, and errors
    of the library become Salt's exceptions with the same text. Texts for people name commands as
    this minion's option ``dkim_call`` says.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args, **kwargs):
        with calls.made_by(_opts(function).get(calls.OPTION)):
            return _translated(function, signature, args, kwargs)

    return call


def _translated(function, signature, args, kwargs):
    try:
        given = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise SaltInvocationError(f"{function.__name__}: {error}") from None
    try:
        given = arguments.check_arguments(signature, given, _typed(function))
        with stand_in.collected() as messages:
            found = octets_shown(function(*given.args, **given.kwargs))
        # A function whose return has no ``notes`` can't return these messages.
        for text in messages:
            log.warning("%s: %s", function.__name__, calls.typed(text))
        return found
    except InvalidValue as error:
        raise SaltInvocationError(_text(error)) from error
    except FormulaError as error:
        raise CommandExecutionError(_text(error)) from error
    except OSError as error:
        # The cause is the machine, such as a full disk or a missing directory.
        raise CommandExecutionError(f"{error.filename or ''}: {error.strerror}") from error


def _text(error):
    return octets_shown(calls.typed(str(error)))


def _opts(function):
    return function.__globals__.get("__opts__") or {}


def _typed(function):
    """
    Return the words of the command line if ``salt-call`` calls this function itself, else nothing.
    Salt passes on what YAML makes of each word (salt.utils.args, yamlify_arg), and keeps the words.
    """
    opts = _opts(function)
    called = str(opts.get("fun") or "").rpartition(".")[2] == function.__name__
    return (opts.get("arg") or ()) if called else ()


def read_pillar(pillar):
    """
    Return pillar ``dkim`` as a ``settings.Reading``, with its problems.

    pillar
        ``__pillar__``. From Salt 3008, ``pillar.get`` returns asterisks outside a renderer.
    """
    given = pillar.get("dkim")
    if _last["reading"] is None or _last["given"] is not given:
        _last.update(given=given, reading=settings.read(given))
    return _last["reading"]


def pillar_for_beacon(opts, grains, pillar):
    """
    Return the pillar for a beacon. A minion without a master passes an empty pillar to its beacons
    until the pillar is refreshed (measured, Salt 3008.3, ``master_type: disable``). For such a
    minion the pillar is rendered at each call.

    opts, grains, pillar
        ``__opts__``, ``__grains__``, ``__pillar__``.
    """
    if pillar or opts.get("file_client") != "local":
        return pillar
    return salt.pillar.get_pillar(opts, grains, opts["id"], opts["saltenv"]).compile_pillar()


def valid_settings(pillar):
    """Return pillar ``dkim`` as ``settings.model.Settings``. Raises SeveralProblems."""
    reading = read_pillar(pillar)
    if reading.problems:
        raise SeveralProblems(reading.problems)
    return reading.settings


def managed(opts, name, manage, **comments):
    """
    Return a state's return, made by one execution function. With ``test=True`` the function returns
    what it would change, else what it changed.
    """
    return converged(opts, name, lambda: manage(test=True), lambda: manage(test=False), **comments)


def converged(opts, name, read, change, **comments):
    """
    Return a state's return by :func:`dkim_formula.converge.converge`. An error fails the state.
    """
    try:
        return converge(name, opts["test"], read, change, **comments)
    except (CommandExecutionError, SaltInvocationError, FormulaError) as error:
        return failed(name, error)
