"""
HTTP APIs of providers of octoDNS, in memory, for the providers' own classes.

Each holds the TXT records at the apex of ``example.com``. :attr:`Api.texts` are the octets of each
text with what the API stores beside it.
"""

import json
import re
from typing import ClassVar

ZONE = "example.com"


class ApiError(Exception):
    """An answer with a status of failure."""

    def __init__(self, status: int):
        self.status = status


class Answer:
    """An answer to a request, as the classes use it of ``requests``."""

    def __init__(self, data: object, status: int = 200):
        self.status_code = status
        self.headers: dict[str, str] = {}
        self.text = json.dumps(data)

    def json(self) -> object:
        return json.loads(self.text)

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise RuntimeError(f"status {self.status_code}")


class Api:
    """
    One API.

    records
        The TXT records at the apex, as the API shows them.
    changes
        Method and path of each request that was to change something.
    """

    class_path = ""
    arguments: ClassVar[dict[str, object]] = {}

    def __init__(self, texts: dict[str, dict[str, object]]):
        self.records: list[dict] = []
        self.changes: list[tuple[str, str]] = []
        self._number = 0
        for text, beside in texts.items():
            self.add(text, **beside)

    def install(self, monkeypatch) -> None:
        """Answer the requests that the class sends by ``requests``."""
        monkeypatch.setattr("requests.Session.request", self._request)

    def _request(self, method, url, params=None, json=None, **_how):
        path = re.sub(r"^https?://[^/]+", "", url)
        if method != "GET":
            self.changes.append((method, path))
        try:
            return Answer(self.answer(method, path, json))
        except ApiError as error:
            return Answer({"error": str(error.status)}, error.status)

    def next_id(self) -> str:
        self._number += 1
        return f"id{self._number}"

    def remove(self, number: str) -> None:
        self.records = [one for one in self.records if one["id"] != number]

    def add(self, text: str, **beside: object) -> None:
        raise NotImplementedError

    def answer(self, method: str, path: str, data: object) -> object:
        raise NotImplementedError

    @property
    def texts(self) -> dict[str, dict[str, object]]:
        raise NotImplementedError


class Gandi(Api):
    """Gandi LiveDNS. It replaces an rrset by DELETE and POST, and refuses a TTL below 300."""

    class_path = "octodns_gandi.GandiProvider"
    arguments: ClassVar = {"token": "x"}

    def add(self, text, ttl):
        if not self.records:
            self.records = [{"rrset_name": "@", "rrset_type": "TXT", "rrset_values": []}]
        self.records[0]["rrset_ttl"] = ttl
        self.records[0]["rrset_values"].append(f'"{text}"')

    def answer(self, method, path, data):
        if path.endswith("/records"):
            if method == "POST":
                if data["rrset_ttl"] < 300:
                    raise ApiError(400)
                self.records = [data]
            return self.records
        if method == "DELETE":
            self.records = []
            return {}
        return [{"fqdn": ZONE}] if path.endswith("/domains") else {}

    @property
    def texts(self):
        return {
            text.strip('"'): {"ttl": rrset["rrset_ttl"]}
            for rrset in self.records
            for text in rrset["rrset_values"]
        }


class Cloudflare(Api):
    """Cloudflare: a TTL (1 is automatic), a comment and tags for each record."""

    class_path = "octodns_cloudflare.CloudflareProvider"
    arguments: ClassVar = {"token": "x", "pagerules": False}

    def add(self, text, **beside):
        given = {"type": "TXT", "name": ZONE, "content": f'"{text}"', **beside}
        self.records.append({"id": self.next_id(), "zone_id": "z", **given})

    def answer(self, method, path, data):
        if path.endswith("/zones"):
            found = [{"id": "z", "name": ZONE}]
            return {"result": found, "result_info": {"count": 1, "per_page": 50}}
        number = path.rpartition("/")[2]
        if method in ("PUT", "DELETE"):
            self.remove(number)
        if method in ("PUT", "POST"):
            self.records.append(
                {"id": number if method == "PUT" else self.next_id(), "zone_id": "z", **data}
            )
        return {
            "result": self.records,
            "result_info": {"count": len(self.records), "per_page": 100},
        }

    @property
    def texts(self):
        return {
            one["content"].strip('"'): {
                key: one[key] for key in ("ttl", "comment", "tags") if one.get(key)
            }
            for one in self.records
        }


class PowerDns(Api):
    """PowerDNS: each record of an rrset may be disabled."""

    class_path = "octodns_powerdns.PowerDnsProvider"
    arguments: ClassVar = {"host": "127.0.0.1", "api_key": "x"}

    def add(self, text, ttl, disabled=False):
        if not self.records:
            self.records = [{"name": f"{ZONE}.", "type": "TXT", "records": []}]
        self.records[0]["ttl"] = ttl
        self.records[0]["records"].append({"content": f'"{text}"', "disabled": disabled})

    def answer(self, method, path, data):
        if method == "PATCH":
            (rrset,) = data["rrsets"]
            self.records = [rrset] if rrset["changetype"] == "REPLACE" else []
        if path.endswith("/zones"):
            return [{"name": f"{ZONE}."}]
        return {"rrsets": self.records, "version": "4.8.0"}

    @property
    def texts(self):
        return {
            one["content"].replace('" "', "").replace("\\;", ";").strip('"'): {
                "ttl": rrset["ttl"],
                **({"disabled": True} if one["disabled"] else {}),
            }
            for rrset in self.records
            for one in rrset["records"]
        }


class Hetzner(Api):
    """The old DNS Console of Hetzner, which deletes and creates single records."""

    class_path = "octodns_hetzner.HetznerProvider"
    arguments: ClassVar = {"token": "x"}

    def add(self, text, ttl):
        given = {"type": "TXT", "name": "@", "value": text, "ttl": ttl}
        self.records.append({"id": self.next_id(), "zone_id": "z", **given})

    def answer(self, method, path, data):
        if method == "DELETE":
            self.remove(path.rpartition("/")[2])
        if method == "POST":
            if data["ttl"] < 60:
                raise ApiError(422)
            self.records.append({"id": self.next_id(), **data})
        if path.endswith("/zones"):
            return {"zones": [{"id": "z", "name": ZONE, "ttl": 3600}]}
        return {"records": self.records}

    @property
    def texts(self):
        return {one["value"].strip('"'): {"ttl": one["ttl"]} for one in self.records}


class Ovh(Api):
    """OVH, which deletes and creates single records by its own client."""

    class_path = "octodns_ovh.OvhProvider"
    arguments: ClassVar = {
        "endpoint": "ovh-eu",
        "application_key": "x",
        "application_secret": "x",
        "consumer_key": "x",
    }

    def add(self, text, ttl):
        given = {"fieldType": "TXT", "subDomain": "", "target": f'"{text}"', "ttl": ttl}
        self.records.append({"id": self.next_id(), **given})

    def install(self, monkeypatch):
        for method in ("get", "post", "delete"):
            monkeypatch.setattr(f"ovh.Client.{method}", self._method(method.upper()))

    def _method(self, method):
        def call(_client, path, **data):
            if method != "GET":
                self.changes.append((method, path))
            return self.answer(method, path, data)

        return call

    def answer(self, method, path, data):
        number = path.rpartition("/")[2]
        if method == "DELETE":
            self.remove(number)
        elif method == "POST" and number == "record":
            if data["ttl"] < 60:
                raise ApiError(400)
            self.records.append({"id": self.next_id(), **data})
        elif number != "record":
            return next((one for one in self.records if one["id"] == number), None)
        return [one["id"] for one in self.records]

    @property
    def texts(self):
        return {one["target"].strip('"'): {"ttl": one["ttl"]} for one in self.records}


EVERY = (Gandi, Cloudflare, PowerDns, Hetzner, Ovh)
