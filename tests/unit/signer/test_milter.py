"""The milter client, with milters that answer in every way."""

import pytest
from dkim_formula.errors import OpenDKIMError
from dkim_formula.signer.milter import CHUNK, Connection
from support.milter import Milter, accept

HEADERS = [("From", "a@example.com"), ("Subject", "One\r\n\ttwo")]
BODY = b"Hello.\r\n"


def at(step, *answers):
    """Return a milter that sends these answers at one step, and continues at all others."""
    return lambda command, message: list(answers) if command == step else accept(command, message)


@pytest.fixture
def listening(tmp_path):
    """Return a function that starts a milter with the given answers."""
    made = []

    def start(answering=accept, **options):
        made.append(Milter(tmp_path / f"{len(made)}.sock", answering, **options))
        return made[-1]

    yield start
    for milter in made:
        milter.close()


def passed(milter, **options):
    with Connection(milter.path, 5) as connection:
        return connection.message("a@example.com", HEADERS, BODY, **options)


def test_milter_gets_the_message_unchanged(listening):
    milter = listening()
    answer = passed(milter, macros={"i": "4bT", "{auth_authen}": "me"})
    assert (answer.verdict, answer.added) == ("accepted", ())
    (message,) = milter.messages
    assert message.headers == HEADERS
    assert message.body == BODY
    assert message.macros == {"i": "4bT", "{auth_authen}": "me"}


def test_long_body_is_sent_in_chunks_and_an_empty_body_in_none(listening):
    milter = listening()
    with Connection(milter.path, 5) as connection:
        connection.message("a@example.com", HEADERS, b"x" * (2 * CHUNK + 1))
        connection.message("a@example.com", HEADERS, b"")
    assert [len(message.body) for message in milter.messages] == [2 * CHUNK + 1, 0]


def test_added_and_inserted_headers_have_crlf_line_ends(listening):
    milter = listening(
        at(
            b"E",
            (b"p", b""),
            (b"h", b"X-One\0first\0"),
            (b"i", b"\0\0\0\x01DKIM-Signature\0v=1;\n\ta=b\0"),
            (b"a", b""),
        )
    )
    answer = passed(milter)
    assert answer.added == (("X-One", "first"), ("DKIM-Signature", "v=1;\r\n\ta=b"))
    assert answer.headers("dkim-signature") == ["v=1;\r\n\ta=b"]


@pytest.mark.parametrize("step", [b"M", b"R", b"L", b"N", b"E"])
@pytest.mark.parametrize(
    ("answer", "verdict", "reply"),
    [
        ((b"t", b""), "deferred", ""),
        ((b"r", b""), "rejected", ""),
        ((b"d", b""), "discarded", ""),
        ((b"a", b""), "accepted", ""),
        ((b"y", b"451 4.7.0 later\0"), "deferred", "451 4.7.0 later"),
        ((b"y", b"554 5.7.1 never\0"), "rejected", "554 5.7.1 never"),
    ],
)
def test_verdict_may_come_at_any_step(listening, step, answer, verdict, reply):
    found = passed(listening(at(step, answer)))
    assert (found.verdict, found.reply) == (verdict, reply)


def test_connection_continues_after_a_refusal(listening):
    milter = listening()
    with Connection(milter.path, 5) as connection:
        milter.answering = at(b"M", (b"t", b""))
        assert connection.message("a@example.com", HEADERS, BODY).verdict == "deferred"
        milter.answering = accept
        assert connection.message("a@example.com", HEADERS, BODY).verdict == "accepted"


def test_step_that_the_milter_skips_is_not_sent(listening):
    milter = listening(protocol=0x302 | 0x10 | 0x20)
    passed(milter)
    assert (milter.messages[0].headers, milter.messages[0].body) == ([], b"")


def test_step_that_the_milter_does_not_answer_is_not_waited_for(listening):
    def silent(command, message):
        return [] if command == b"L" else accept(command, message)

    milter = listening(silent, protocol=0x302 | 0x80)
    assert passed(milter).verdict == "accepted"
    assert milter.messages[0].headers == HEADERS


def test_missing_milter_is_an_error(tmp_path):
    with pytest.raises(OpenDKIMError, match=r"absent\.sock does not answer: No such file"):
        Connection(str(tmp_path / "absent.sock"))


def test_silent_milter_is_an_error_after_the_timeout(listening):
    milter = listening(lambda command, message: [])
    # On a busy machine even the first answer may come too late.
    with (
        pytest.raises(OpenDKIMError, match="does not answer: timed out"),
        Connection(milter.path, 1) as connection,
    ):
        connection.message("a@example.com", HEADERS, BODY)


def test_milter_that_closes_the_connection_is_an_error(listening):
    def crash(command, message):
        raise EOFError

    with pytest.raises(OpenDKIMError, match=r"closed the connection|reset|Broken pipe"):
        passed(listening(crash))
