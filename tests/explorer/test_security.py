"""Only this machine's own page is answered, and only from what is opened."""

import json

import pytest
from explorer.asgi import HOST, get, post, send
from explorer.conftest import explorer_of

from aitia.explorer.security import POLICY

OPENED = "api/opened"


def test_the_page_itself_is_answered(explorer):
    for path in ("", "page/main.js", "page/style.css", OPENED):
        assert get(explorer, path).status == 200, path
    assert get(explorer, "", headers={"host": "localhost:8642"}).status == 200


@pytest.mark.parametrize(
    "path",
    ["/", "/api/opened", "//api/opened", "/the-toke/api/opened", "/the-token2/api/opened", "/THE-TOKEN/api/opened",
     "/%74he-token/../api/opened", "/the-tok\u00e9n/api/opened", "/?token=the-token", "/page/main.js"],
)  # fmt: skip
def test_a_wrong_or_missing_token_is_refused(explorer, path):
    answer = send(explorer.app, path)
    assert answer.status == 403
    assert "token" in answer.json["error"]


def test_two_explorers_have_tokens_of_their_own(run_folder):
    one, two = (type(explorer)(explorer.session) for explorer in [explorer_of(run_folder)] * 2)
    assert one.token != two.token
    assert len(one.token) >= 32


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:8642",
        "127.0.0.1:8643",
        "127.0.0.1",
        f"{HOST}.evil.test",
        "",
        None,
        [HOST, "evil.test"],
    ],
)
def test_another_host_is_refused(explorer, host):
    """A name that an attacker's server resolves to this machine does not help him."""
    assert get(explorer, OPENED, headers={"host": host}).status in (400, 421)


@pytest.mark.parametrize(
    "origin",
    ["http://evil.test", "null", "https://127.0.0.1:8642", "http://127.0.0.1:1", f"http://{HOST}.evil.test"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_origin_is_refused(explorer, origin, method):
    path = OPENED if method == "GET" else "api/rows/0/page"
    answer = send(explorer.app, f"/the-token/{path}", method=method, headers={"origin": origin})
    assert answer.status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_browser_says_comes_from_elsewhere_is_refused(explorer, site):
    assert get(explorer, OPENED, headers={"sec-fetch-site": site}).status == 403
    assert get(explorer, OPENED, headers={"sec-fetch-site": "same-origin"}).status == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_a_form_of_another_site_cannot_ask(explorer, kind):
    assert post(explorer, "rows/0/page", headers={"content-type": kind}).status == 415


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(explorer, method):
    assert send(explorer.app, f"/the-token/{OPENED}", method=method).status == 405


@pytest.mark.parametrize(
    "path",
    [
        "page/../opened.py",
        "page/..%2fopened.py",
        "page/%2e%2e/opened.py",
        "page//etc/passwd",
        "../etc/passwd",
        "page/..\\opened.py",
        "document/../../train.jsonl",
        "document/train.jsonl",
        "page/__init__.py",
        "train.jsonl",
        "page/main.js\0.html",
        "api/figures/..%2f..%2fsummary.json",
    ],
)
def test_no_path_leads_out_of_what_is_opened(explorer, path):
    answer = get(explorer, path)
    assert answer.status in (400, 404)
    assert b"root:" not in answer.body
    assert b"completion" not in answer.body


@pytest.mark.parametrize("name", ["../away", "a/b", "..", ".hidden", "", "x" * 61, "a\0b", "C:\\x", None, 5])
def test_no_name_leads_out_of_the_folder_that_is_written_to(explorer, run_folder, name):
    before = sorted(run_folder.rglob("*"))
    answer = post(explorer, "rows/0/export", {"choice": {"positions": [1]}, "name": name})
    assert answer.status == 400
    assert "name" in answer.json["error"]
    assert sorted(run_folder.rglob("*")) == before


def test_a_body_that_is_too_long_is_refused(run_folder):
    explorer = explorer_of(run_folder, request_kilobytes=1)
    long = {"query": {"text": "a" * 2000}}
    assert post(explorer, "rows/0/page", long).status == 413
    # One that lies about its length, and comes in pieces.
    assert post(explorer, "rows/0/page", long, headers={"content-length": "10"}, pieces=7).status == 413
    assert post(explorer, "rows/0/page", long, headers={"content-length": None}, pieces=7).status == 413
    assert post(explorer, "rows/0/page", {}).status == 200


@pytest.mark.parametrize("length", ["-5", "1e3", "\u00b2", "99999999999999999999"])
def test_a_length_that_is_none_is_refused(explorer, length):
    assert post(explorer, "rows/0/page", headers={"content-length": length}).status == 413


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b"5", b"[" * 100_000, b"\xff\xfe"])
def test_a_body_that_is_no_object_is_refused_or_empty(explorer, body):
    answer = send(explorer.app, "/the-token/api/rows/0/row", method="POST", body=body)
    assert answer.status == 400
    assert answer.json["error"]


def test_an_answer_that_takes_too_long_ends(run_folder, monkeypatch):
    from time import sleep

    explorer = explorer_of(run_folder, request_seconds=0.2)
    monkeypatch.setattr(explorer.session, "overview", lambda: sleep(3) or {})
    answer = get(explorer, OPENED)
    assert answer.status == 503
    assert "--request-seconds" in answer.json["error"]


def test_every_answer_says_what_the_browser_may_do(explorer):
    for path, status in (("", 200), (OPENED, 200), ("page/none", 404)):
        answer = get(explorer, path)
        assert answer.status == status
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control")]
    refused = send(explorer.app, "/")
    assert refused.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert "default-src 'none'" in POLICY


def test_a_page_of_the_run_has_a_key_that_opens_it_alone(explorer):
    (page,) = get(explorer, OPENED).json["pages"]
    answer = send(explorer.app, f"/{page['key']}")
    assert answer.status == 200
    assert b"The report" in answer.body
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert "allow-same-origin" not in policy
    for path in ("/api/opened", "/page/main.js", "/"):
        assert send(explorer.app, f"/{page['key']}{path}").status == (200 if path == "/" else 403)


def test_a_fault_says_nothing_of_what_is_inside(explorer, monkeypatch, capsys):
    def fail(_given):
        raise ValueError("a secret text of a row")

    monkeypatch.setattr(explorer.session, "positions", lambda *_: fail(None))
    answer = post(explorer, "rows/0/positions", {"ids": []})
    assert answer.status == 500
    assert "secret" not in json.dumps(answer.json)
    assert "ValueError" in capsys.readouterr().err


def test_websockets_are_refused(explorer):
    import asyncio

    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def sending(message):
        sent.append(message)

    asyncio.run(explorer.app({"type": "websocket", "headers": [], "path": "/the-token/"}, receive, sending))
    assert sent[0]["type"] != "websocket.accept"
