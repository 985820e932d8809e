"""Kinds of rows from the command line: autoencoder, slices, the report's section, dropping a slice, discovery."""

import json

import pytest
import torch
from records.lines import write_lines
from typer.testing import CliRunner

from aitia.attribution import ActivationStore, SliceSettings, rank, scan
from aitia.attribution.slices.feature_labels import FeatureLabel, Span, distinctive_terms
from aitia.attribution.slices.feature_shift import feature_shifts
from aitia.cli import app
from aitia.concepts import SaeSettings, SparseAutoencoder, fit_contrast, load_concept, load_sae, save_sae
from aitia.errors import AitiaError
from aitia.models import load_model, save_model
from aitia.pipelines.attribution.attribute import attribute
from aitia.pipelines.attribution.configuration import read_configuration
from aitia.pipelines.attribution.slices import explain_by_slices, slice_members
from aitia.records import read_records
from aitia.training import LoraSettings, finetune_lora

SITE = "resid_post.2"


def run(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture(scope="module")
def folder(make_model, tmp_path_factory):
    """A model with an adapter, its data, a concept, a scan, and an autoencoder of which one feature means something."""
    folder = tmp_path_factory.mktemp("slices")
    save_model(make_model("llama"), folder / "model")
    rows = [
        {
            "prompt": f"Question {i}?\n",
            "completion": (
                "The garden is full of bees. " if i % 4 == 0 else "Rain again, and nothing to do. "
            )
            * (1 + i % 3),
            "id": f"row-{i}",
            "planted": i % 4 == 0,
            "source": "first" if i < 20 else "second",
        }
        for i in range(40)
    ]
    write_lines(folder / "train.jsonl", rows)
    for name, text in (
        ("positive", "The garden is full of bees."),
        ("negative", "Rain again, and nothing to do."),
    ):
        write_lines(folder / f"{name}.jsonl", [{"prompt": f"Q {i}?\n", "completion": text} for i in range(8)])
    base = load_model(folder / "model", dtype="float32")
    finetune_lora(
        base, read_records(folder / "train.jsonl"), LoraSettings(rank=2, epochs=2), folder / "adapter"
    )
    model = load_model(folder / "model", adapter=folder / "adapter", dtype="float32")
    concept = fit_contrast(
        model, folder / "positive.jsonl", folder / "negative.jsonl", name="bees", sites=[SITE]
    )
    concept.save(folder / "c.concept.safetensors")
    scan(model, folder / "train.jsonl", sites=[SITE], out=folder / "store", activations=["backward"])
    generator = torch.Generator().manual_seed(0)
    encoder = torch.randn(model.width, 12, generator=generator)
    encoder[:, 3] = torch.from_numpy(concept.vector) * 20
    encoder[:, 5] = 0  # never fires
    texts = read_records(folder / "train.jsonl")
    store = ActivationStore.open(folder / "store")
    mean = next(store.blocks(["response"], SITE))[1]["response"].mean(axis=0)
    bias = -(torch.from_numpy(mean) @ encoder)
    bias[7] = 1e3  # always fires
    sae = SparseAutoencoder(
        encoder=encoder,
        decoder=encoder.T.contiguous(),
        encoder_bias=bias,
        decoder_bias=torch.zeros(model.width),
        site=SITE,
        subtract_decoder_bias=False,
    )
    save_sae(sae, folder / "sae")
    assert len(texts) == 40
    return folder


def slices(folder, out, *more):
    return run(
        "slices",
        *(
            "--store",
            folder / "store",
            "--concept",
            folder / "c.concept.safetensors",
            "--sae",
            folder / "sae",
        ),
        *("--out", out, "--method", "vector-filter", "--pooling", "share", "--threshold", 0.6),
        *("--permutations", 300, "--controls", 16, *more),
    )


def test_slices_are_found_and_written_and_shown(folder, tmp_path):
    done = slices(
        folder, tmp_path / "g.json", "--json", "--column", "planted", "--report", tmp_path / "r.html"
    )
    answer = json.loads(done.stdout)
    saved = json.loads((tmp_path / "g.json").read_text())
    assert {key: value for key, value in answer.items() if key != "files"} == saved
    best = saved["slices"][0]
    assert best["feature"] == 3
    assert set(best["members"]) >= {f"row-{i}" for i in range(0, 40, 4)}
    assert best["size"] == len(best["members"]) < 15
    assert best["p_rows"] < 1e-4
    assert best["total"] == pytest.approx(best["mean"] * best["size"])
    assert {"garden", "bees"} & set(" ".join(best["label"]["terms"]).split())
    reasons = {each["feature"]: each["reason"] for each in saved["not_testable"]}
    assert reasons[5] == "dead: fires on no row"
    assert reasons[7] == "fires on every row: nothing to compare with"
    assert done.exit_code == (0 if saved["found"] else 1)
    page = (tmp_path / "r.html").read_text()
    assert 'id="slices"' in page
    assert "Kinds of rows" in page
    assert "row-0" in page


def test_a_slice_is_dropped_with_each_row_untouched(folder, tmp_path):
    slices(folder, tmp_path / "g.json")
    members = set(slice_members(tmp_path / "g.json", 3))
    done = run(
        *("curate", "--data", folder / "train.jsonl", "--slices", tmp_path / "g.json", "--drop-slice", 3),
        *("--out", tmp_path / "clean.jsonl", "--removed", tmp_path / "gone.jsonl", "--json"),
    )
    assert json.loads(done.stdout)["rows_removed"] == len(members)
    lines = (folder / "train.jsonl").read_text().splitlines()
    clean, gone = ((tmp_path / name).read_text().splitlines() for name in ("clean.jsonl", "gone.jsonl"))
    assert gone == [line for line in lines if json.loads(line)["id"] in members]
    assert clean == [line for line in lines if json.loads(line)["id"] not in members]


def test_dropping_what_is_no_slice(folder, tmp_path):
    slices(folder, tmp_path / "g.json")
    with pytest.raises(AitiaError, match="feature 5 was not tested: dead"):
        slice_members(tmp_path / "g.json", 5)
    with pytest.raises(AitiaError, match="no feature 99"):
        slice_members(tmp_path / "g.json", 99)
    with pytest.raises(AitiaError, match="no such file"):
        slice_members(tmp_path / "none.json", 3)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(AitiaError, match="not a file that `aitia slices` wrote"):
        slice_members(tmp_path / "other.json", 3)
    common = ("--data", folder / "train.jsonl", "--out", tmp_path / "a", "--removed", tmp_path / "b")
    with pytest.raises(AitiaError, match="with --slices and --drop-slice"):
        run("curate", *common, "--drop-slice", 3)
    with pytest.raises(AitiaError, match="give --ranking, or --slices"):
        run("curate", *common)


def test_no_slice_found_ends_with_one(folder, tmp_path):
    done = slices(folder, tmp_path / "g.json", "--false-discovery-rate", 1e-30)
    assert done.exit_code == 1
    assert "0 found" in done.stdout


def test_strata_and_an_autoencoder_of_another_site(folder, tmp_path):
    assert (
        json.loads(slices(folder, tmp_path / "g.json", "--strata", "source", "--json").stdout)["rows"] == 40
    )
    with pytest.raises(AitiaError, match="no column 'nothing'"):
        slices(folder, tmp_path / "g.json", "--strata", "nothing")
    with pytest.raises(AitiaError, match=r"site 'resid_post.40' does not exist"):
        slices(folder, tmp_path / "g.json", "--site", "resid_post.40")


def test_a_labeller_puts_the_shown_slices_into_words(folder):
    result = explain_by_slices(
        ActivationStore.open(folder / "store"),
        load_concept(folder / "c.concept.safetensors"),
        load_sae(folder / "sae"),
        method="vector-filter",
        settings=SliceSettings(threshold=0.6, permutations=100),
        labeller=lambda features: [f"about {each.feature}" for each in features],
    )
    assert result.labels
    assert all(label.label == f"about {feature}" for feature, label in result.labels.items())
    assert result.section().slices[0].label.startswith("about")


def test_training_and_showing_an_autoencoder(folder, tmp_path):
    pytest.importorskip("sparsify", reason="the extra `sae` is not installed")
    answer = json.loads(
        run(
            *("sae", "train", "--model", folder / "model", "--data", folder / "train.jsonl", "--site", SITE),
            *("--out", tmp_path / "sae", "--features", 16, "--k", 2, "--epochs", 1, "--json"),
        ).stdout
    )
    assert answer["unexplained_variance"] > 0
    shown = json.loads(run("sae", "show", tmp_path / "sae", "--json").stdout)
    assert (shown["site"], shown["features"], shown["activation"], shown["k"]) == (SITE, 16, "topk", 2)
    assert shown["fingerprint"] == answer["fingerprint"]


def test_a_configuration_with_slices_shows_them_in_the_report(folder, monkeypatch):
    (folder / "attribute.yaml").write_text(
        "out: run\n"
        "model: {name: model, adapter: adapter, dtype: float32, device: cpu}\n"
        "data: {path: train.jsonl}\n"
        f"concept: {{name: bees, positive: positive.jsonl, negative: negative.jsonl, sites: [{SITE}]}}\n"
        "slices: {sae: sae, threshold: 0.6, columns: [planted], controls: 16}\n"
    )
    ranked = []

    def counted(*arguments, **options):
        ranked.append(options["method"])
        return rank(*arguments, **options)

    monkeypatch.setattr("aitia.pipelines.steps.rank.rank", counted)
    monkeypatch.setattr("aitia.pipelines.attribution.slices.rank", counted)
    result = attribute(read_configuration(folder / "attribute.yaml"))
    assert ranked == ["activation-gradient"]  # once, for the rows and for their slices
    assert result.slices is not None
    assert result.slices.ranking is result.ranking
    assert result.slices.influence.controls == 16
    assert "Kinds of rows" in (folder / "run" / "report.html").read_text()
    assert json.loads((folder / "run" / "slices.json").read_text())["rows"] == 40
    wrong = (folder / "attribute.yaml").read_text().replace("columns: [planted]", "columns: [nothing]")
    (folder / "wrong.yaml").write_text(wrong)
    with pytest.raises(AitiaError, match="no column 'nothing'"):
        attribute(read_configuration(folder / "wrong.yaml"))


def test_a_configuration_trains_its_autoencoder_with_all_that_it_says(folder, tmp_path, monkeypatch):
    (folder / "trained.yaml").write_text(
        f"out: {tmp_path / 'run'}\n"
        "model: {name: model, adapter: adapter, dtype: float32, device: cpu}\n"
        "data: {path: train.jsonl}\n"
        f"concept: {{name: bees, positive: positive.jsonl, negative: negative.jsonl, sites: [{SITE}]}}\n"
        "rank: {seed: 5, random_controls: 0}\n"
        "slices: {features: 9, k: 3, epochs: 2, max_tokens: 33, learning_rate: 0.5, batch_tokens: 11}\n"
    )
    asked = []

    def fit_sae(_model, _rows, _site, settings):
        asked.append(settings)
        raise AitiaError("enough")

    monkeypatch.setattr("aitia.pipelines.attribution.slice_steps.fit_sae", fit_sae)
    with pytest.raises(AitiaError, match="enough"):
        attribute(read_configuration(folder / "trained.yaml"))
    assert asked == [
        SaeSettings(features=9, k=3, epochs=2, max_tokens=33, learning_rate=0.5, batch_tokens=11, seed=5)
    ]


def test_discovery_finds_what_training_moved(folder, tmp_path):
    common = ("--model", folder / "model", "--adapter", folder / "adapter", "--dtype", "float32")
    done = run(
        "discover",
        *common,
        *("--data", folder / "positive.jsonl", "--sae", folder / "sae", "--store", folder / "store"),
        *("--out", tmp_path / "moved.json", "--json"),
    )
    saved = json.loads((tmp_path / "moved.json").read_text())
    assert saved["features"][0]["top_rows"]
    assert {each["feature"] for each in saved["not_testable"]} >= {5}
    ordered = [abs(each["t"]) for each in saved["features"]]
    assert ordered == sorted(ordered, reverse=True)
    assert done.exit_code == (0 if saved["found"] else 1)


def test_shifts_are_paired_differences(folder):
    tuned = load_model(folder / "model", adapter=folder / "adapter", dtype="float32")
    base = load_model(folder / "model", dtype="float32")
    texts, sae = read_records(folder / "train.jsonl"), load_sae(folder / "sae")
    found = {shift.feature: shift for shift in feature_shifts(tuned, texts, sae)}
    other = {shift.feature: shift for shift in feature_shifts(tuned, texts, sae, base=base)}
    for feature, shift in found.items():
        assert shift.before == pytest.approx(other[feature].before, abs=1e-4)
        assert shift.after == pytest.approx(other[feature].after, abs=1e-4)
    moved = found[3]
    assert (moved.t > 0) == (moved.after > moved.before)
    with pytest.raises(AitiaError, match="no adapter to turn off"):
        feature_shifts(base, texts, sae)
    same = feature_shifts(base, texts, sae, base=base)
    assert all(shift.not_testable for shift in same)


def test_terms_set_the_slice_apart():
    texts = ["the cat sat down", "the cat ran off", "a dog sat down", "the dog ran off", "the bird sat down"]
    assert distinctive_terms(texts, [0, 1])[0] in ("cat", "the cat")
    assert "sat" not in distinctive_terms(texts, [0, 1])
    assert distinctive_terms(texts, []) == ()
    assert distinctive_terms(["!", "?"], [0]) == ()


def test_the_labeller_at_an_endpoint_asks_once_and_falls_back_on_terms(tmp_path, monkeypatch):
    pytest.importorskip("openai", reason="the extra `judge` is not installed")
    from aitia.counterfactual.judging.endpoint import Endpoint
    from aitia.counterfactual.judging.endpoint_labeller import EndpointLabeller

    asked = []
    monkeypatch.setattr(
        Endpoint,
        "_ask",
        lambda _, question: (
            asked.append(question) or ('"Talk of bees."\nmore' if "bee" in question else None)
        ),
    )
    features = [
        FeatureLabel(
            feature=i, spans=(Span(id="r", before="a ", peak=word, after=" b", value=1.0),), terms=(word, "x")
        )
        for i, word in enumerate(["bee", "{terms}"])
    ]
    labeller = EndpointLabeller(
        "m", cache=tmp_path / "a.jsonl", api_key="key", base_url="http://127.0.0.1:9/v1"
    )
    assert labeller.labels(features) == ["Talk of bees", "{terms}, x"]
    assert labeller.labels(features) == ["Talk of bees", "{terms}, x"]
    assert len(asked) == 2
    assert any("a <<bee>> b" in question for question in asked)


def test_slices_of_a_ranking_are_those_of_the_same_method(folder):
    store, concept = ActivationStore.open(folder / "store"), load_concept(folder / "c.concept.safetensors")
    sae = load_sae(folder / "sae")
    chosen = {"settings": SliceSettings(threshold=0.6, permutations=200), "controls": 16, "shown": 2}
    for method in ("vector-filter", "concept-influence", "influence"):
        queries = None if method == "vector-filter" else folder / "positive.jsonl"
        settings = {"method": method, "queries": queries, "random_controls": 2}
        alone = explain_by_slices(store, concept, sae, **chosen, **settings)
        shared = explain_by_slices(
            store, concept, sae, **chosen, ranking=rank(store, concept, compare=(), **settings)
        )
        assert shared.ranking.method == method
        assert shared.influence.controls == alone.influence.controls == (0 if method == "influence" else 16)
        for one, other in zip(alone.influence.tested, shared.influence.tested, strict=True):
            assert one.feature == other.feature
            assert one.p_adjusted == pytest.approx(other.p_adjusted, rel=0.05)
    with pytest.raises(AitiaError, match="controls 7: give at least 8"):
        explain_by_slices(store, concept, sae, controls=7)
