"""The client of name servers: its questions, the answers it accepts, and its limits."""

import asyncio
import contextlib
import sys
import time

import dns.flags
import dns.message
import dns.rrset
import pytest
from dkim_formula.dns import query, reply
from dkim_formula.dns.query import DnsClient, Endpoint, endpoint_of, question
from dkim_formula.dns.verdict import judge
from dkim_formula.errors import DnsError, NoAnswer, NoLibrary
from dkim_formula.records import key_record
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import damaged, examples
from support.nameserver import Nameserver, closed_port

NAME = "default._domainkey.example.com"
KEY = key_record("example.com", "default", "ed25519", "A" * 43 + "=")
ASKED = question(NAME, "TXT")


def answer(asked, *texts):
    """Return an authoritative answer to a query in wire form."""
    made = dns.message.make_response(dns.message.from_wire(asked))
    made.flags |= dns.flags.AA
    for text in texts or [("TXT", f'"{KEY.value}"')]:
        made.answer.append(dns.rrset.from_text(f"{NAME}.", 300, "IN", *text))
    soa = "ns.example.com. h.example.com. 1 900 900 900 30"
    made.authority.append(dns.rrset.from_text("example.com.", 60, "IN", "SOA", soa))
    made.authority.append(dns.rrset.from_text("example.com.", 60, "IN", "NS", "ns.example.com."))
    return made.to_wire()


ANSWERS = [
    answer(ASKED.to_wire()),
    answer(ASKED.to_wire(), ("TXT", '"v=DKIM1; p="', '"other"')),
    answer(ASKED.to_wire(), ("CNAME", "elsewhere.example.")),
]


class Fixed(Nameserver):
    """A server with one answer for all questions."""

    wire = b""

    def answer(self, wire, transport):
        return self.wire


@pytest.fixture(scope="module")
def fixed():
    with Fixed({"example.com": ""}) as running:
        yield running


async def asked_at(server, transport="udp", timeout=5, times=1, asked=ASKED):
    async with DnsClient(timeout, 10) as client:
        endpoint = endpoint_of(str(server))
        return [await client.ask(endpoint, asked, transport) for _ in range(times)]


async def reply_or_kind_of_failure(server):
    try:
        return (await asked_at(server, "tcp"))[0]
    except NoAnswer as error:
        return error.kind


@examples(200)
@given(wire=st.sampled_from(ANSWERS).flatmap(damaged), keep_id=st.booleans())
def test_any_octets_are_an_answer_or_no_answer(fixed, wire, keep_id):
    fixed.wire = ANSWERS[0][:2] + wire[2:] if keep_id else wire
    found = asyncio.run(reply_or_kind_of_failure(fixed))
    if found != "broken":
        finding = judge(KEY, NAME, "example.com", found)
        assert finding.verdict
        assert finding.detail.isprintable()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("wire", [ANSWERS[0][:-1], ANSWERS[0][:9]], ids=["cut", "no header"])
def test_answer_that_does_not_parse_is_broken(fixed, transport, wire):
    fixed.wire = wire
    with pytest.raises(NoAnswer, match="does not parse") as failed:
        asyncio.run(asked_at(fixed, transport))
    assert failed.value.kind == "broken"


def test_answer_over_tcp_to_another_question_is_broken(fixed):
    fixed.wire = answer(question("example.org", "TXT").to_wire())
    with pytest.raises(NoAnswer, match="another question"):
        asyncio.run(asked_at(fixed, "tcp"))


class Packets(asyncio.DatagramProtocol):
    """A server over UDP that sends several packets for each query."""

    def __init__(self, packets_for):
        self._packets_for = packets_for

    def connection_made(self, transport):
        self._transport = transport

    def datagram_received(self, data, address):
        for packet in self._packets_for(data):
            self._transport.sendto(packet, address)


async def over_udp(packets_for, timeout=5):
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Packets(packets_for), ("127.0.0.1", 0)
    )
    with contextlib.closing(transport):
        port = transport.get_extra_info("sockname")[1]
        return await asked_at(f"127.0.0.1@{port}", timeout=timeout)


@pytest.mark.parametrize(
    "forged",
    [
        lambda wire: bytes([wire[0] ^ 1]) + answer(wire)[1:],
        lambda wire: bytes([wire[0] ^ 1]) + b"x",
        lambda wire: wire[:2] + answer(question("example.org", "TXT").to_wire())[2:],
        lambda wire: wire,
    ],
    ids=["another id", "another id, broken", "another question", "a query"],
)
def test_packet_that_answers_another_query_is_skipped(forged):
    (found,) = asyncio.run(over_udp(lambda wire: [forged(wire), answer(wire)]))
    assert found.values(NAME, "TXT") == [KEY.value.encode()]


def test_lost_packet_is_sent_again():
    queries = []

    def packets_for(wire):
        queries.append(wire)
        return [answer(wire)] if len(queries) > 1 else []

    (found,) = asyncio.run(over_udp(packets_for, timeout=0.2))
    assert found.values(NAME, "TXT") == [KEY.value.encode()]
    assert len(queries) == query.UDP_TRIES


class Stream:
    """A server over TCP that closes each connection after some answers."""

    def __init__(self, answers):
        self._answers = answers
        self.connections = 0
        self.at_once = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}@{port}"
        return self

    async def __aexit__(self, *_error):
        self._server.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        self.at_once += 1
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
            for _ in range(self._answers):
                wire = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                made = answer(wire)
                writer.write(len(made).to_bytes(2, "big") + made)
                await writer.drain()
        self.at_once -= 1


async def over_tcp(server, times, together=False):
    async with server, DnsClient(5, 100) as client:
        endpoint = endpoint_of(server.address)
        if together:
            asked = (client.ask(endpoint, question(NAME, "TXT"), "tcp") for _ in range(times))
            return await asyncio.gather(*asked)
        return [await client.ask(endpoint, ASKED, "tcp") for _ in range(times)]


def test_connection_is_reused():
    server = Stream(answers=100)
    found = asyncio.run(over_tcp(server, 20))
    assert [one.rcode for one in found] == ["NOERROR"] * 20
    assert server.connections == 1


def test_closed_connection_is_replaced():
    server = Stream(answers=1)
    found = asyncio.run(over_tcp(server, 5))
    assert [one.rcode for one in found] == ["NOERROR"] * 5
    assert server.connections == 5


def test_connections_to_one_server_are_limited():
    server = Stream(answers=1000)
    found = asyncio.run(over_tcp(server, 200, together=True))
    assert len(found) == 200
    assert server.connections <= query.CONNECTIONS


def test_connection_closed_without_an_answer_is_reported():
    with pytest.raises(NoAnswer, match=r"closed the connection|Connection reset") as failed:
        asyncio.run(over_tcp(Stream(answers=0), 1))
    assert failed.value.kind == "closed"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_closed_port_is_reported_at_once(transport):
    with closed_port() as port, pytest.raises(NoAnswer, match="the port is closed") as failed:
        asyncio.run(asked_at(f"127.0.0.1@{port}", transport, timeout=60))
    assert failed.value.kind == "closed"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_silent_server_is_given_up(transport):
    async def ask_on():
        async with DnsClient(0.05, 10) as client:
            for _ in range(query.GIVE_UP_AFTER + 3):
                with pytest.raises(NoAnswer) as failed:
                    await client.ask(endpoint_of(str(server)), ASKED, transport)
            return str(failed.value)

    expected = query.GIVE_UP_AFTER * (query.UDP_TRIES if transport == "udp" else 1)
    with Nameserver({"example.com": ""}) as server:
        server.silent = {transport}
        text = asyncio.run(ask_on())
        # On a busy machine the client gives up before the server has read the last questions.
        end = time.monotonic() + 10
        while len(server.asked) < expected and time.monotonic() < end:
            time.sleep(0.01)
    assert f"no answer over {transport.upper()} to {query.GIVE_UP_AFTER} questions" in text
    assert len(server.asked) == expected


def test_server_without_edns_gets_the_question_without_it():
    with Nameserver({"example.com": "default._domainkey 60 TXT x"}) as server:
        server.refuses_edns = True
        (found,) = asyncio.run(asked_at(server))
    assert found.values(NAME, "TXT") == [b"x"]


def test_missing_library_is_reported_with_its_remedy(monkeypatch):
    reply.dnspython.cache_clear()
    monkeypatch.setitem(sys.modules, "dns.message", None)
    with pytest.raises(NoLibrary, match=r"dkim\.python"):
        question(NAME, "TXT")
    monkeypatch.undo()
    assert question(NAME, "TXT").question


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "a..example", "a." * 128])
def test_invalid_name_is_refused(name):
    with pytest.raises(DnsError, match="DNS has no such name"):
        question(name, "TXT")


@pytest.mark.parametrize(
    ("setting", "endpoint"),
    [
        ("192.0.2.53", Endpoint("192.0.2.53")),
        ("192.0.2.53@5353", Endpoint("192.0.2.53", 5353)),
        ("2001:db8::0053@5353", Endpoint("2001:db8::53", 5353)),
        ("ns.example.com@5353", None),
    ],
)
def test_setting_is_an_endpoint_or_a_host(setting, endpoint):
    assert endpoint_of(setting) == endpoint
