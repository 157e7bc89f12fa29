"""A service with PowerDNS's HTTP API that fails, lies and rewrites data as a test configures it."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ZONES = "/api/v1/servers/localhost/zones"


class DnsApi:
    """
    Zones behind an API; a context manager.

    zones
        The rrsets of each zone, as the API shows them.
    rewrite
        A function that changes each rrset before the service stores it.
    answer
        A function of a handler and the number of a request. It returns true if it has answered the
        request itself.
    requests
        Method and path of each request.
    """

    def __init__(self, *zones: str):
        self.zones: dict[str, dict[tuple[str, str], dict]] = {zone: {} for zone in zones}
        self.rewrite: Callable[[dict], dict] = lambda rrset: rrset
        self.answer: Callable[[BaseHTTPRequestHandler, int], bool] = lambda _handler, _number: False
        self.requests: list[tuple[str, str]] = []
        self.is_over = threading.Event()

    def __enter__(self):
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"api": self})
        )
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self.is_over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def changes(self) -> int:
        """Return how many requests changed something."""
        return sum(method != "GET" for method, _ in self.requests)

    def texts(self, name: str) -> set[str]:
        """Return the TXT values at a name, each without quotes and escapes of semicolons."""
        found = (zone.get((f"{name}.", "TXT")) for zone in self.zones.values())
        return {
            record["content"].replace('" "', "").strip('"').replace("\\;", ";")
            for rrset in found
            if rrset
            for record in rrset["records"]
        }

    def patch(self, zone: str, rrsets: list[dict]) -> None:
        """Carry out the changes of one request."""
        for rrset in rrsets:
            key = (rrset["name"], rrset["type"])
            if rrset["changetype"] == "DELETE":
                self.zones[zone].pop(key, None)
            else:
                self.zones[zone][key] = self.rewrite(rrset)


class _Handler(BaseHTTPRequestHandler):
    api: DnsApi

    def do_GET(self):
        if not self._begun():
            if self.path == ZONES:
                self.say(200, [{"name": f"{zone}."} for zone in self.api.zones])
            elif "/zones/" in self.path:
                zone = self.path.rpartition("/")[2].rstrip(".")
                known = self.api.zones.get(zone)
                self.say(404 if known is None else 200, {"rrsets": [*(known or {}).values()]})
            else:
                self.say(200, [{"name": "version", "value": "4.7.3"}])

    def do_PATCH(self):
        data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._begun():
            self.api.patch(self.path.rpartition("/")[2].rstrip("."), data["rrsets"])
            self.say(204)

    def do_POST(self):
        self._begun()
        self.say(201, {})

    def say(self, status: int, data: object = None) -> None:
        text = (
            b"" if data is None else data if isinstance(data, bytes) else json.dumps(data).encode()
        )
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_arguments):
        pass

    def _begun(self) -> bool:
        self.api.requests.append((self.command, self.path))
        return self.api.answer(self, len(self.api.requests))
