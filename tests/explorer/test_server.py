"""The routes as the page uses them; the port; and a row that is opened."""

import json
import re
import socket
import subprocess
import sys
import threading
import urllib.request

import numpy as np
import pytest
from explorer.asgi import get, post
from explorer.conftest import GARDEN, RAIN, make_rows

from aitia.errors import AitiaError
from aitia.explorer import ExplorerSettings, explore
from aitia.explorer.server import free_socket, page_files

KEY = "ranking:activation-gradient"


def test_a_page_of_rows_with_cells(explorer):
    found = post(
        explorer, "rows/0/page", {"query": {"sort": KEY}, "offset": 2, "limit": 3, "columns": [KEY, "source"]}
    )
    assert found.status == 200
    values = explorer.session.rows(0).scores[KEY].values
    order = np.argsort(-values, kind="stable")[2:5]
    assert [row["position"] for row in found.json["rows"]] == order.tolist()
    row = found.json["rows"][0]
    assert row["cells"][KEY] == [values[order[0]], pytest.approx(100 * 58 / 60)]
    assert row["cells"]["source"] == make_rows()[order[0]]["source"]
    assert row["response"] == make_rows()[order[0]]["completion"][:400]


@pytest.mark.parametrize(
    ("given", "said"),
    [({"offset": -1}, "whole number"), ({"limit": "a"}, "whole number"), ({"offset": 1.5}, "whole number"),
     ({"columns": "a"}, "a list"), ({"columns": ["a"] * 41}, "at most 40"), ({"query": 5}, "an object")],
)  # fmt: skip
def test_a_page_that_cannot_be_given_is_said(explorer, given, said):
    answer = post(explorer, "rows/0/page", given)
    assert answer.status == 400
    assert said in answer.json["error"]


def test_a_page_beyond_the_end_is_empty_and_no_page_is_endless(explorer):
    assert post(explorer, "rows/0/page", {"offset": 10**9}).json["rows"] == []
    assert len(post(explorer, "rows/0/page", {"limit": 10**9}).json["rows"]) == 60
    assert post(explorer, "rows/1/page").status == 400


def test_a_row_is_opened_with_all_of_it(explorer):
    found = post(explorer, "rows/0/row", {"position": 7}).json
    wanted = make_rows()[7]
    assert [turn["text"] for turn in found["turns"]] == [wanted["prompt"], wanted["completion"]]
    assert [turn["trained"] for turn in found["turns"]] == [False, True]
    assert found["extra"]["source"] == wanted["source"]
    scores = {each["key"]: each for each in found["scores"]}
    values = explorer.session.rows(0).scores[KEY].values
    assert scores[KEY]["value"] == values[7]
    assert scores[KEY]["rank"] == 1 + int((values > values[7]).sum())
    for wrong in (60, -1, "1", None):
        assert post(explorer, "rows/0/row", {"position": wrong}).status == 400


@pytest.mark.parametrize("key", [KEY, "asked"])
def test_shares_of_tokens_sum_to_the_score(explorer, key):
    if key == "asked":
        question = {
            "kind": "texts",
            "positive": GARDEN,
            "negative": RAIN,
            "methods": ["projection-difference-prompt"],
        }
        key = post(explorer, "rows/0/ask", {"question": question}).json["scores"][0]["key"]
    found = post(explorer, "rows/0/shares", {"position": 7, "score": key}).json
    assert sum(token["share"] for token in found["tokens"]) == pytest.approx(found["score"], rel=1e-3)
    assert make_rows()[7]["completion"].strip() in "".join(token["text"] for token in found["tokens"])
    assert all(token["share"] == 0 for token in found["tokens"] if not token["response"])


def test_scores_beside_the_first_of_a_file_have_no_shares(explorer):
    answer = post(explorer, "rows/0/shares", {"position": 7, "score": "ranking:vector-filter"})
    assert answer.status == 400
    assert "ask the concept here" in answer.json["error"]


def test_neighbours_with_their_texts(explorer):
    found = post(explorer, "rows/0/neighbours", {"position": 7}).json
    assert found["site"] == "resid_post.1"
    assert len(found["rows"]) == 10
    assert found["rows"][0]["response"]
    cosines = [row["cosine"] for row in found["rows"]]
    assert cosines == sorted(cosines, reverse=True)


def test_two_rankings_are_compared(explorer):
    from scipy.stats import spearmanr

    rows = explorer.session.rows(0)
    one, two = rows.scores[KEY].values, rows.scores["ranking:vector-filter"].values
    found = post(explorer, "rows/0/compare", {"first": KEY, "second": "ranking:vector-filter"}).json
    assert found["agreement"] == pytest.approx(spearmanr(one, two).statistic)
    assert found["points"][5] == [5, one[5], two[5]]
    top = set(np.argsort(-one, kind="stable")[:6]) & set(np.argsort(-two, kind="stable")[:6])
    assert found["tops"]["0.1"] == [len(top), 6]
    gap = rows.scores[KEY].ranks.astype(int) - rows.scores["ranking:vector-filter"].ranks
    assert found["differing"]["first"][0]["position"] == int(np.argmin(gap))
    query = {"conditions": [{"column": "planted", "operation": "is", "value": True}]}
    some = post(
        explorer, "rows/0/compare", {"first": KEY, "second": "ranking:vector-filter", "query": query}
    ).json
    assert some["rows"] == 15
    assert some["agreement"] == pytest.approx(spearmanr(one[::4], two[::4]).statistic)


def test_figures_and_unknown_routes(explorer):
    assert get(explorer, "api/figures/summary.json").json == {"rows": 60, "concept": {"name": "garden"}}
    assert get(explorer, "api/figures/train.jsonl").status == 400
    assert get(explorer, "api/nothing").status == 404
    assert post(explorer, "opened").status == 405


def test_ids_become_positions(explorer):
    assert post(explorer, "rows/0/positions", {"ids": ["row-9", "no", "row-2"]}).json == {"positions": [9, 2]}
    assert post(explorer, "rows/0/positions", {"ids": "row-9"}).status == 400


def test_the_page_takes_nothing_from_outside_and_makes_no_markup():
    """Text becomes part of the page as text alone; each module that is named is there."""
    files = page_files()
    for name, content in files.items():
        text = content.decode("utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function|javascript:", text
        ), name
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), name
        if name.endswith(".js"):
            for other in re.findall(r'from "\./([\w.]+)"', text):
                assert other in files
        if name.endswith(".html"):
            assert not re.search(r"\son\w+=|style=|<script>|<style", text), name
            for other in re.findall(r'(?:src|href)="page/([\w.]+)"', text):
                assert other in files


def test_a_port_in_use_gives_another():
    with free_socket(0) as taken:
        port = taken.getsockname()[1]
        with free_socket(port) as other:
            assert other.getsockname()[1] != port
            assert other.getsockname()[0] == "127.0.0.1"


def test_no_free_port_is_said(monkeypatch):
    def refuse(*_):
        raise OSError("in use")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(AitiaError, match="--port 0"):
        free_socket(8642)


def test_it_is_served_at_the_address_that_is_said(run_folder, capsys, monkeypatch):
    monkeypatch.setenv("AITIA_PROGRESS", "1")
    import uvicorn

    said, servers = [], []
    run = uvicorn.Server.run
    monkeypatch.setattr(
        uvicorn.Server, "run", lambda self, **given: (servers.append(self), run(self, **given))[1]
    )
    with free_socket(0) as taken:
        port = taken.getsockname()[1]
        serving = threading.Thread(
            target=explore,
            args=([run_folder], ExplorerSettings(port=port)),
            kwargs={"browser": False, "said": said.append},
            daemon=True,
        )
        serving.start()
        for _ in range(600):
            if servers and servers[0].started:
                break
            serving.join(0.05)
        (address,) = said
        assert f":{port}/" not in address
        with urllib.request.urlopen(f"{address}api/opened", timeout=30) as answer:
            assert json.load(answer)["rows"][0]["count"] == 60
        servers[0].should_exit = True
        serving.join(30)
    assert f"Port {port} is in use" in capsys.readouterr().err


def test_many_tabs_ask_at_once(explorer):
    """No answer is a fault while questions, pages and rows are asked for from several threads."""
    statuses = []

    def tab(number):
        for step in range(6):
            question = {"kind": "rows", "positive": [(7 * number + step) % 60], "methods": ["vector-filter"]}
            statuses.append(post(explorer, "rows/0/ask", {"question": question}).status)
            query = {
                "text": "garden",
                "sort": KEY,
                "conditions": [{"column": "row", "operation": "at least", "value": step}],
            }
            statuses.append(post(explorer, "rows/0/page", {"query": query}).status)
            statuses.append(post(explorer, "rows/0/row", {"position": step}).status)
            statuses.append(get(explorer, "api/rows/0/columns").status)

    tabs = [threading.Thread(target=tab, args=(number,)) for number in range(5)]
    for each in tabs:
        each.start()
    for each in tabs:
        each.join(60)
    assert statuses == [200] * 120


@pytest.mark.slow
def test_the_command_prints_its_address_and_ends_on_a_signal(run_folder):
    options = ["--no-browser", "--json", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from aitia.cli import main; main()", "explore", str(run_folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    address = json.loads(process.stdout.readline())["address"]
    with urllib.request.urlopen(f"{address}api/opened", timeout=60) as answer:
        assert json.load(answer)["rows"][0]["count"] == 60
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "the same view after a new start" in said
    assert "Traceback" not in said
