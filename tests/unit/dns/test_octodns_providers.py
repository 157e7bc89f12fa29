"""The providers' own classes: other texts beside SPF stay, with their TTL and other data."""

import json
import time

import pytest
from dkim_formula.dns.planned import Task, step_from
from dkim_formula.dns.providers.octodns import OctodnsProvider
from dkim_formula.dns.providers.octodns_plan import Service
from dkim_formula.dns.providers.provider import Change
from dkim_formula.errors import DnsError, UncertainUpdate
from dkim_formula.records import spf_record
from dkim_formula.settings.model import ApiProvider
from support import dns_provider_apis
from support.dns_provider_apis import ZONE, ApiError

SPF = spf_record(ZONE, "v=spf1 mx -all")
OTHERS = {
    "google-site-verification=one": {"ttl": 900},
    "MS=ms12345678": {"ttl": 900},
}


class InProcess(OctodnsProvider):
    """A provider whose requests are carried out in this process."""

    def __init__(self, api):
        super().__init__(ApiProvider("p", api.class_path, api.arguments), time.monotonic() + 60, 60)
        self._service = Service("p", api.class_path, api.arguments)

    def _ask(self, what, **request):
        try:
            answer = getattr(self._service, what)(**json.loads(json.dumps(request)))
        except Exception as error:
            is_uncertain = self._service.may_have_applied
            raise (UncertainUpdate if is_uncertain else DnsError)(str(error)) from error
        return json.loads(json.dumps({"zones": answer} if what == "zones" else answer))


@pytest.fixture(params=dns_provider_apis.EVERY, ids=lambda api: api.__name__)
def api(request, monkeypatch):
    made = request.param(OTHERS)
    made.install(monkeypatch)
    return made


def run(api, record, *published):
    """Publish or remove the SPF record in a run of its own; return the error."""
    provider = InProcess(api)
    provider.load([(ZONE, ZONE)])
    present = provider.present(ZONE, ZONE)
    task = Task(ZONE, "TXT", ZONE, record, published, ZONE)
    step = step_from(task, present, adopt=False)
    ((_, result),) = provider.send([Change(ZONE, step, present)])
    return result.error


def installed(kind, texts, monkeypatch):
    made = kind(texts)
    made.install(monkeypatch)
    return made


def others(api):
    return {text: beside for text, beside in api.texts.items() if text != SPF.value}


def test_other_texts_and_their_ttl_stay_while_spf_comes_and_goes(api):
    assert run(api, SPF) is None
    assert api.texts == {**OTHERS, SPF.value: {"ttl": 900}}
    assert run(api, None, SPF.value) is None
    assert api.texts == OTHERS


def test_spf_alone_is_removed(api):
    api.records.clear()
    assert run(api, SPF) is None
    assert api.texts == {SPF.value: {"ttl": SPF.ttl}}
    assert run(api, None, SPF.value) is None
    assert api.texts == {}


def test_cloudflare_keeps_the_comment_the_tags_and_the_automatic_ttl_of_each_text(monkeypatch):
    texts = {
        "one": {"ttl": 1, "comment": "of the first", "tags": ["a:b"]},
        "two": {"ttl": 1},
        "three": {"ttl": 1, "comment": "of the third"},
    }
    api = installed(dns_provider_apis.Cloudflare, texts, monkeypatch)
    assert run(api, SPF) is None
    assert api.texts == {**texts, SPF.value: {"ttl": 1}}
    assert run(api, None, SPF.value) is None
    assert api.texts == texts


def test_cloudflare_keeps_a_comment_on_spf_and_gives_it_the_desired_ttl(monkeypatch):
    texts = {"v=spf1 -all": {"ttl": 1, "comment": "of the site"}}
    api = installed(dns_provider_apis.Cloudflare, texts, monkeypatch)
    assert run(api, SPF, "v=spf1 -all") is None
    assert api.texts == {SPF.value: {"ttl": SPF.ttl, "comment": "of the site"}}


def test_powerdns_keeps_a_disabled_text_disabled(monkeypatch):
    texts = {"a; b": {"ttl": 900, "disabled": True}, "c": {"ttl": 900}}
    api = installed(dns_provider_apis.PowerDns, texts, monkeypatch)
    assert run(api, SPF) is None
    assert api.texts == {**texts, SPF.value: {"ttl": 900}}
    assert run(api, None, SPF.value) is None
    assert api.texts == texts


@pytest.mark.parametrize("kind", [dns_provider_apis.Gandi, dns_provider_apis.Hetzner])
def test_error_between_two_requests_contains_the_other_texts(kind, monkeypatch):
    api = installed(kind, OTHERS, monkeypatch)
    answer = api.answer

    def refuses(method, path, data):
        if method == "POST":
            raise ApiError(400)
        return answer(method, path, data)

    api.answer = refuses
    error = run(api, SPF)
    assert isinstance(error, UncertainUpdate)
    assert api.texts == {}
    assert str(error).endswith(
        "; compare the other texts that the name had before, and restore what is gone: "
        '"MS=ms12345678", "google-site-verification=one" (TTL 900)'
    )
