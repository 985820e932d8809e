"""Scorers of other installed packages: found by name, used like any other, named with their package when they fail."""

import json
from textwrap import dedent

import numpy as np
import pytest
from typer.testing import CliRunner

from aitia.attribution import find_scorer, rank, scan, scorer_names
from aitia.attribution.scorers import registry
from aitia.cli import app
from aitia.concepts import fit_concept
from aitia.errors import AitiaError
from aitia.records import records_from_rows

SITE = "resid_post.2"
GOOD = """
    import numpy as np
    from aitia.attribution import Needs, RowScores, Scorer

    class LongWords(Scorer):
        name = "long-words"
        formula = "the mean length of the response's words"
        drops = "the model"
        cost = "none"
        source = "a test"

        def prepare(self, context):
            texts = [record.completion_text.split() for record in context.records()]
            return RowScores(lambda: np.array([np.mean([len(word) for word in each]) for each in texts]))

    class Projected:
        def __init__(self, context):
            self.context = context

        def rows(self):
            return self.under(self.context.concept.vector[None])[0]

        def under(self, directions):
            store, found = self.context.store, np.zeros((len(directions), len(self.context.store)))
            for positions, block in store.blocks(["response"], self.context.concept.site):
                found[:, positions] = directions @ block["response"].T
            return found

        def directions_at_once(self):
            return None

        def tokens(self, row):
            return None

    class MyFilter(LongWords):
        name = "my-filter"
        through_concept = True

        def needs(self):
            return Needs(activations=("response",))

        def prepare(self, context):
            return Projected(context)
"""
BAD = """
    from aitia.attribution import RowScores, Scorer

    class Bad(Scorer):
        name, formula, drops, cost, source = "bad", "", "", "", ""

        def prepare(self, context):
            return RowScores(lambda: {scores})
"""


@pytest.fixture(scope="module")
def made(make_model, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    model, data = make_model("llama"), folder / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    texts = [
        records_from_rows([{"prompt": f"Question {i}?\n", "completion": f"{word} {i}."} for i in range(8)])
        for word in ("garden", "nothing")
    ]
    concept = fit_concept(model, *texts, sites=[SITE], shuffles=2)
    from aitia.records import read_records

    records = read_records(data)
    return concept, scan(model, records, sites=[SITE], out=folder / "s"), records


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package of one module, with its entry points, until the test ends."""
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    registry._points.cache_clear()

    def install(package, code, points):
        place = tmp_path / package
        information = place / f"{package}-1.0.dist-info"
        information.mkdir(parents=True)
        (place / f"{package}_module.py").write_text(dedent(code), encoding="utf-8")
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {package}_module:{found}" for name, found in points.items()]
        (information / "entry_points.txt").write_text("[aitia.scorers]\n" + "\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(place)
        monkeypatch.delitem(__import__("sys").modules, f"{package}_module", raising=False)

    yield install
    registry._points.cache_clear()


def test_a_scorer_of_another_package_ranks_like_any_other(made, install, tmp_path):
    concept, store, records = made
    install("goodscorers", GOOD, {"long-words": "LongWords", "my-filter": "MyFilter"})
    assert {"long-words", "my-filter"} <= set(scorer_names())
    ranking = rank(store, concept, method="long-words", compare=["vector-filter", "my-filter"])
    words = [record.completion_text.split() for record in records]
    np.testing.assert_allclose(ranking.score, [sum(map(len, each)) / len(each) for each in words], rtol=1e-6)
    assert not ranking.controls
    assert ranking.direction_scores is None
    assert "mean length of the response" in ranking.report(tmp_path / "r.html").read_text(encoding="utf-8")

    own, ours = (rank(store, concept, method=name, compare=()) for name in ("my-filter", "vector-filter"))
    np.testing.assert_allclose(own.score, ours.score, rtol=1e-4, atol=1e-5)
    assert [each.name for each in own.controls] == [each.name for each in ours.controls]
    for one, other in zip(own.controls, ours.controls, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4, atol=1e-5)


def command(made, tmp_path, *more):
    concept, store, _ = made
    file = concept.save(tmp_path / "c.concept.safetensors")
    line = [
        "rank",
        "--store",
        str(store.path),
        "--concept",
        str(file),
        "--out",
        str(tmp_path / "r.parquet"),
        "--json",
    ]
    return CliRunner().invoke(app, [*line, *more])


def test_a_scorer_of_another_package_ranks_from_the_command_line(made, install, tmp_path):
    install("goodscorers", GOOD, {"long-words": "LongWords"})
    done = command(made, tmp_path, "--method", "long-words", "--compare", "response-length")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["method"] == "long-words"
    assert {"long-words", "response-length", "vector-filter"} <= set(found["methods"])


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("{}['key']", "failed: KeyError: 'key'$"),
        ("[1.0, 2.0]", r"failed: it gave float64 of shape \(2,\)"),
        ("['a'] * len(context.store)", "failed: it gave <U1 of shape"),
        ("context.queries()", "failed: bad measures queries: give texts that show the behaviour"),
        ("__import__('torch').zeros(2, 3)[5]", "failed: IndexError"),
    ],
)
def test_a_scorer_that_fails_is_named_with_its_package(made, install, scores, words):
    concept, store, _ = made
    install("badscorers", BAD.replace("{scores}", scores), {"bad": "Bad"})
    for method, compare in (("bad", ()), ("vector-filter", ["bad"])):
        with pytest.raises(AitiaError, match=r"^scorer 'bad' of package badscorers " + words) as caught:
            rank(store, concept, method=method, compare=compare)
        assert "\n" not in str(caught.value)
    assert rank(store, concept).method == "activation-gradient"


@pytest.mark.parametrize(
    ("code", "points", "words"),
    [
        (
            "import a_module_that_is_not_there",
            {"bad": "Bad"},
            "cannot be loaded: ModuleNotFoundError: No module",
        ),
        ("def broken(:", {"bad": "Bad"}, "cannot be loaded: SyntaxError"),
        ("raise SystemExit(3)", {"bad": "Bad"}, "cannot be loaded: SystemExit: 3"),
        (BAD.format(scores=0), {"bad": "Worse"}, "cannot be loaded: AttributeError"),
        (BAD.format(scores=0), {"worse": "Bad"}, "cannot be used: it calls itself 'bad'"),
        ("class Bad:\n    name = 'bad'", {"bad": "Bad"}, "cannot be used: it lacks formula, drops"),
        (
            BAD.format(scores=0).replace('"bad", ""', '"bad", 3'),
            {"bad": "Bad"},
            "cannot be used: its formula",
        ),
        (BAD.format(scores=0).replace('"bad"', '"score"'), {"score": "Bad"}, "the name 'score' is reserved"),
    ],
)
def test_a_package_that_cannot_be_used_is_named_and_spoils_nothing_else(
    made, install, tmp_path, code, points, words
):
    concept, store, _ = made
    install("badscorers", code, points)
    name = next(iter(points))
    for _ in range(2):  # the second time as the first
        with pytest.raises(AitiaError, match=f"^scorer '{name}' of package badscorers .*{words}"):
            rank(store, concept, method=name)
    done = command(made, tmp_path, "--method", name)
    assert done.exit_code != 0
    assert set(rank(store, concept).scores) == {
        "vector-filter",
        "projection-difference-prompt",
        "whitened-projection-difference",
        "activation-gradient",
    }


def test_two_scorers_of_one_name_are_refused_with_both_packages(made, install):
    concept, store, _ = made
    install("goodscorers", GOOD, {"long-words": "LongWords", "my-filter": "MyFilter"})
    install("copyscorers", GOOD, {"long-words": "LongWords"})
    with pytest.raises(
        AitiaError, match=r"'long-words' is defined twice, by (copy|good)scorers and by (copy|good)sc"
    ):
        find_scorer("long-words")
    assert find_scorer("my-filter").name == "my-filter"
    install("rogue", GOOD.replace('"long-words"', '"tf-idf"'), {"tf-idf": "LongWords"})
    with pytest.raises(AitiaError, match="'tf-idf' is defined twice, by aitia and by rogue"):
        rank(store, concept, method="tf-idf")


def test_a_scorer_can_be_entered_by_its_own_module_too(made, install):
    concept, store, _ = made
    decorated = GOOD.replace("RowScores, Scorer", "RowScores, Scorer, scorer").replace(
        "    class LongWords", "    @scorer\n    class LongWords"
    )
    install("goodscorers", decorated, {"long-words": "LongWords"})
    __import__("goodscorers_module")
    assert rank(store, concept, method="long-words").method == "long-words"
