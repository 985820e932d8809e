"""The explorer in a real browser: what people press, hostile rows, other sites, keys alone, and a server that goes.

`make browser` runs all of these; the fast ones run with the other tests where Playwright and a Chromium are there.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from explorer.conftest import GARDEN, RAIN, explorer_of, make_rows, write_lines
from report.test_browser import BOUND, HIDDEN, HOSTILE, WATCH, browser  # noqa: F401 - a fixture

from aitia.attribution import rank, scan
from aitia.concepts import load_concept
from aitia.explorer.server import Explorer, free_socket
from aitia.models import load_model
from aitia.records import read_records

pytestmark = pytest.mark.browser
slow = pytest.mark.slow
FIRST = ".line .text"


@contextmanager
def served(explorer):
    """The address at which an explorer is served while the block runs, and a function that stops it."""
    import uvicorn

    fresh = Explorer(explorer.session)
    with free_socket(0) as listening:
        port = listening.getsockname()[1]
        fresh.ports.add(port)
        server = uvicorn.Server(
            uvicorn.Config(fresh.app, log_level="error", access_log=False, lifespan="off")
        )
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        serving.start()

        def stop():
            server.should_exit = True
            server.force_exit = True
            serving.join(30)

        try:
            yield fresh.address(port), stop
        finally:
            stop()


def _matters(said):
    """Whether a message is a fault: the page's policy keeps plotly from a style for maps, and none are drawn."""
    return said.type == "error" and "Applying inline style" not in said.text


class Watched:
    """Pages of one browser, and what they did that they may not do."""

    def __init__(self, context):
        self.context, self.faults, self.requests = context, [], []
        context.add_init_script(WATCH)
        context.set_default_timeout(BOUND)
        context.on("request", lambda request: self.requests.append(request.url))

    def open(self, address):
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", lambda dialog: (self.faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("console", lambda said: self.faults.append(said.text) if _matters(said) else None)
        page.goto(address)
        return page


@pytest.fixture
def watched(browser):  # noqa: F811
    context = browser.new_context(viewport={"width": 1300, "height": 800})
    found = Watched(context)
    yield found
    context.close()


@pytest.fixture
def page(explorer, watched):
    with served(explorer) as (address, _):
        yield watched.open(address)


def until(page, expression):
    """Wait until a JavaScript expression is true; the page's policy lets nothing wait inside it."""
    for _ in range(BOUND // 50):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression}")


def lines(page):
    return page.eval_on_selector_all(".line .response", "all => all.map(each => each.textContent)")


def test_rows_are_found_and_opened_by_keys_alone(page, watched):
    page.wait_for_selector(FIRST)
    assert "60 rows" in page.text_content(".bar .count")
    assert page.text_content("header p").startswith("Which training rows raise or lower a concept?")
    page.keyboard.press("/")
    page.keyboard.type("garden")
    until(page, "document.querySelector('.bar .count').textContent.includes('of 60')")
    shown = page.eval_on_selector_all(".line .text", "all => all.map(each => each.textContent)")
    assert shown
    assert all("garden" in each.lower() for each in shown)
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("Enter")
    page.wait_for_selector("#panel .turn.trained")
    assert page.text_content("#panel .turn.trained .body") == lines(page)[1] or "garden" in page.text_content(
        "#panel"
    )
    assert "picks=" in page.url
    assert "row=" in page.url
    page.keyboard.press("j")
    until(page, "document.querySelectorAll('.line')[2].classList.contains('opened')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#panel", state="hidden")
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.keyboard.press("Escape")
    for key, selector in (
        ("2", "textarea"),
        ("3", ".picture.drawn"),
        ("4", ".effect"),
        ("5", ".empty"),
        ("6", "#view a"),
        ("1", FIRST),
    ):
        page.keyboard.press(key)
        page.wait_for_selector(selector)
    assert watched.faults == []
    assert page.evaluate("window.broken") in ([], ["style-src-elem"])
    assert {re.match(r"http://127\.0\.0\.1:\d+/", url) is not None for url in watched.requests} == {True}


@slow
def test_a_concept_is_asked_and_checked(page, explorer):
    page.wait_for_selector(FIRST)
    page.keyboard.press("2")
    page.fill("textarea >> nth=0", "\n".join(GARDEN))
    page.fill("textarea >> nth=1", "\n".join(RAIN))
    page.click("text=Rank all rows")
    page.wait_for_selector(".card .checks table")
    card = page.text_content(".card")
    (key,) = [key for key in explorer.session.rows(0).scores if key.startswith("asked:")]
    column = explorer.session.rows(0).scores[key]
    assert f"Held-out AUC {column.about['auc']:.3f} (3 that show it, 3 that do not)" in card
    assert "matched direction" in card
    assert "training-loss" in card
    page.click("text=Check again with a label")
    page.select_option("select[aria-label=Label]", "planted")
    page.wait_for_selector("text=AUC at finding them")
    assert "Gain over training-loss, gradient-norm, response-length" in page.text_content(".card")
    page.click(".card >> text=See the rows")
    page.wait_for_selector(FIRST)
    assert lines(page)[0].startswith(make_rows()[int(column.order[0])]["completion"][:30])


@slow
def test_more_like_this_and_the_parts_of_a_score(page, explorer):
    page.wait_for_selector(FIRST)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector("#panel .turn")
    page.click("text=Show each token's share")
    page.wait_for_selector(".shares > .tokens .token")
    page.click("text=Find the nearest rows")
    page.wait_for_selector("#panel .neighbour")
    page.click("text=More like this")
    page.wait_for_selector(".head >> text=like row-")
    assert "sort=asked" in page.url


@slow
def test_filters_stand_in_the_address_and_an_address_shows_the_same(page, watched, explorer):
    page.wait_for_selector(FIRST)
    page.click("text=Add a filter")
    page.select_option("select[aria-label=Column]", "source")
    page.select_option("select[aria-label=Value]", "book")
    page.click(".adder >> text=Add >> nth=1")
    page.wait_for_selector(".chip")
    assert page.text_content(".chip").startswith("source is book")
    until(page, "document.querySelector('.bar .count').textContent.startsWith('20 of 60')")
    page.click(".head >> text=Tokens")
    until(page, "location.hash.includes('sort=response_tokens')")
    seen = lines(page)
    other = watched.open(page.url)
    other.wait_for_selector(FIRST)
    assert lines(other) == seen
    other.click(".chip button")
    until(other, "document.querySelector('.bar .count').textContent.startsWith('60 rows')")
    assert "20 of 60" in page.text_content(".bar .count"), "another tab is its own"
    assert watched.faults == []


@slow
def test_a_killed_server_loses_nothing(watched, run_folder):
    with served(explorer_of(run_folder)) as (address, stop):
        page = watched.open(address)
        page.wait_for_selector(FIRST)
        page.keyboard.press("j")
        page.keyboard.press("x")
        page.keyboard.press("Enter")
        page.wait_for_selector("#panel .turn")
        page.click("text=More like this")
        page.wait_for_selector(".head >> text=like row-")
        page.keyboard.press("Escape")
        until(page, "document.querySelectorAll('.line .response').length > 5")
        seen, place = lines(page), page.evaluate("location.hash")
        stop()
        page.click(".head >> text=Tokens")
        page.wait_for_selector(".lost code")
        assert page.text_content(".lost code").startswith("#")
    with served(explorer_of(run_folder)) as (again, _):
        page = watched.open(again + place)
        page.wait_for_selector(FIRST)
        page.wait_for_selector(".head >> text=like row-")
        until(page, "document.querySelectorAll('.line .response').length > 5")
        assert lines(page) == seen
        assert page.text_content(".bar") is not None
        assert "1 picked" in page.text_content(".bar")


@slow
def test_a_frame_around_points_picks_their_rows(page, watched):
    page.wait_for_selector(FIRST)
    page.keyboard.press("3")
    page.wait_for_selector(".picture.drawn .point")
    box = page.locator(".picture .nsewdrag").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] - 5, steps=8)
    page.mouse.up()
    until(page, "location.hash.includes('picks=0-59')")


@slow
def test_rows_go_and_the_data_are_written(page, run_folder):
    page.wait_for_selector(FIRST)
    page.keyboard.press("4")
    page.wait_for_selector(".effect table")
    assert "6 of 60 rows (10.0 %)" in page.text_content(".effect")
    page.click("button:text-is('Write')")
    page.wait_for_selector(".written pre")
    assert page.text_content(".written pre").startswith("aitia curate --data ")
    kept = (run_folder / "explored" / "curated.kept.jsonl").read_text().splitlines()
    assert len(kept) == 54
    page.click("button:text-is('Write')")
    page.wait_for_selector(".written .bad")
    assert "choose another name" in page.text_content(".written .bad")


@slow
def test_the_page_of_a_run_is_shown_in_a_box(page, watched):
    page.wait_for_selector(FIRST)
    page.keyboard.press("6")
    with page.context.expect_page() as opened:
        page.click("#view a")
    report = opened.value
    report.wait_for_selector("h1")
    assert report.text_content("h1") == "The report"
    token = page.url.split("/")[3]
    assert token not in report.url
    reached = f"fetch('/{token}/api/opened').then(() => 'reached', () => 'held back')"
    assert report.evaluate(reached) == "held back"


@pytest.fixture
def hostile_folder(made, tmp_path):
    """A run whose every text, name and id is hostile."""
    folder = shutil.copytree(made, tmp_path / "hostile")
    shutil.rmtree(folder / "store")
    (folder / "ranking.parquet").unlink()
    short = f"{HIDDEN}<img src=http://evil.test/x onerror=window.alarm=1>"
    rows = [
        {
            "prompt": short,
            "completion": HOSTILE,
            "id": f"{short}{i}",
            HOSTILE[:60]: i % 2 == 0,
            "source": HOSTILE,
        }
        for i in range(12)
    ]
    rows += [
        {"prompt": "\u202eevil\u202c", "completion": "\u05e9\u05dc\u05d5\u05dd \u202e\u2066 turned", "id": "bidi"},
        {"prompt": "nulls", "completion": "\x00\x00null\x00", "id": "null", "source": "x"},
        {"prompt": "long", "completion": HOSTILE * (10**6 // len(HOSTILE)), "id": "long", "source": "x"},
    ]  # fmt: skip
    write_lines(folder / "train.jsonl", rows)
    model = load_model(folder / "model", device="cpu", dtype="float32")
    store = scan(
        model,
        read_records(folder / "train.jsonl"),
        sites=["resid_post.1"],
        out=folder / "store",
        truncate=True,
    )
    concept = load_concept(folder / "c.concept.safetensors")
    object.__setattr__(concept, "name", HOSTILE[:80])
    rank(store, concept, random_controls=0).write(folder / "ranking.parquet")
    (folder / "summary.json").write_text(json.dumps({HOSTILE: {HOSTILE: HOSTILE}}))
    return folder


@slow
def test_hostile_rows_do_nothing_and_can_be_read(hostile_folder, watched):
    explorer = explorer_of(hostile_folder)
    with served(explorer) as (address, _):
        page = watched.open(address)
        page.wait_for_selector(FIRST)
        page.click("text=Columns")
        for place in range(page.locator(".adder .list input").count()):
            page.locator(".adder .list input").nth(place).check()
        page.keyboard.press("Escape")
        texts = []
        for position in range(15):
            page.evaluate(f"location.hash = '#row={position}'")
            until(
                page,
                f"document.querySelector('#panel h2')?.textContent === 'Row {position}'"
                " && !!document.querySelector('#panel .turn')",
            )
            texts.append(page.inner_text("#panel"))
        for key, selector in (
            ("2", "form"),
            ("3", ".picture.drawn"),
            ("4", ".effect"),
            ("5", ".empty"),
            ("6", ".card"),
            ("1", FIRST),
        ):
            page.keyboard.press("Escape")
            page.keyboard.press(key)
            page.wait_for_selector(selector)
            texts.append(page.inner_text("body"))
        handlers = page.evaluate(
            "[...document.querySelectorAll('*')]"
            ".flatMap(e => e.getAttributeNames().filter(name => name.startsWith('on')))"
        )
        assert handlers == []
        assert page.evaluate("[window.alarm ?? null, document.title]") == [None, "aitia explorer"]
        assert not page.query_selector(
            "iframe, base, meta[http-equiv], #view script, #panel script, #view style, #view img, #panel img"
        )
    assert watched.faults == []
    assert {url.split("/")[2].split(":")[0] for url in watched.requests} == {"127.0.0.1"}
    whole = "\n".join(texts)
    assert "<script>window.alarm" in whole, "the payload must be there, as text"
    assert not {*HIDDEN[:4], "\u202e", "\u2066", "\x00"} & set(whole)
    assert "⟦U+202E⟧" in whole
    assert "⟦U+0000⟧" in whole
    assert "Cut here" in texts[14]


@slow
def test_another_site_gets_nothing(explorer, watched):
    """A page of another origin on this machine tries every way to ask; none is answered."""
    with served(explorer) as (address, _):
        origin, token = "/".join(address.split("/")[:3]), address.split("/")[3]
        script = """
        const [origin, token] = PLACES, found = [];
        const tries = [
          () => fetch(`${origin}/${token}/api/opened`), () => fetch(`${origin}/${token}/api/opened`, {mode: 'no-cors'}),
          () => fetch(`${origin}/${token}/api/rows/0/export`, {method: 'POST', body: '{}', mode: 'no-cors'}),
          () => fetch(
            `${origin}/${token}/api/rows/0/export`,
            {method: 'POST', body: '{}', headers: {'content-type': 'application/json'}}
          ),
        ];
        (async () => {
          for (const each of tries) {
            try {
              const got = await each();
              found.push(got.type === 'opaque' ? 'opaque' : got.status);
            } catch { found.push('held back'); }
          }
          const script = document.createElement('script');
          script.src = `${origin}/${token}/page/main.js`;
          script.onload = () => { found.push('loaded'); window.found = found; };
          script.onerror = () => { found.push('held back'); window.found = found; };
          document.head.append(script);
        })();
        """.replace("PLACES", json.dumps([origin, token]))

        class Evil(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write(f"<!doctype html><title>evil</title><script>{script}</script>".encode())

            def log_message(self, *_):
                pass

        evil = HTTPServer(("127.0.0.1", 0), Evil)
        threading.Thread(target=evil.serve_forever, daemon=True).start()
        page = watched.context.new_page()
        page.goto(f"http://127.0.0.1:{evil.server_port}/")
        until(page, "!!window.found")
        assert set(page.evaluate("window.found")) == {"held back"}
        evil.shutdown()
    assert not (explorer.session.rows(0).folder).exists()


@slow
def test_a_store_without_texts_says_so_and_works(run_folder, watched):
    (run_folder / "train.jsonl").unlink()
    with served(explorer_of(run_folder)) as (address, _):
        page = watched.open(address)
        page.wait_for_selector(".line")
        assert "No texts:" in page.text_content(".filters")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_selector("#panel .notice")
        assert "train.jsonl" in page.text_content("#panel .notice")
        page.click("text=More like this")
        page.wait_for_selector(".head >> text=like row-")


@slow
def test_dark_and_light(page):
    page.wait_for_selector(FIRST)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    page.reload()
    page.wait_for_selector(FIRST)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


@slow
def test_many_rows_scroll_to_their_end(made, tmp_path, watched):
    """More rows than a browser's tallest element holds: the last line can be reached, and only some lines exist."""
    folder = shutil.copytree(made, tmp_path / "many")
    shutil.rmtree(folder / "store")
    (folder / "ranking.parquet").unlink()
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as parquet

    source = parquet.read_table(made / "ranking.parquet")
    count = 400_000
    table = pa.table(
        {
            "id": [f"r{i}" for i in range(count)], "content": ["0"] * count, "row": np.arange(count),
            "location": [f"f:{i}" for i in range(count)], "score": np.arange(count, dtype=np.float32),
            "rank": np.arange(count), "prompt_tokens": np.ones(count, dtype=np.int64),
            "response_tokens": np.ones(count, dtype=np.int64),
            "activation-gradient": np.arange(count, dtype=np.float32),
        }
    ).replace_schema_metadata(source.schema.metadata)  # fmt: skip
    parquet.write_table(table, folder / "ranking.parquet")
    with served(explorer_of(folder)) as (address, _):
        page = watched.open(address)
        page.wait_for_selector(".line .score")
        assert page.get_attribute(".scroll", "aria-rowcount") == str(count)
        page.keyboard.press("End")
        until(page, f"!!document.querySelector('.line[aria-rowindex=\"{count}\"] .score')")
        assert page.locator(".line").count() < 60
        box = page.locator(f".line[aria-rowindex='{count}']").bounding_box()
        around = page.locator(".scroll").bounding_box()
        assert around["y"] <= box["y"]
        assert box["y"] + box["height"] <= around["y"] + around["height"] + 2
        page.mouse.move(around["x"] + 200, around["y"] + 200)
        page.mouse.wheel(0, -1000)
        until(page, "!!document.querySelector('.line .score')")
        page.keyboard.press("Home")
        page.wait_for_selector(".line[aria-rowindex='1'] .score")
