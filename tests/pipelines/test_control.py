"""Rows chosen by a recorded run: the derivatives of its functions, kept and found again; rounds, fronts, refusals."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from aitia.attribution import ControlSettings, Expansion, FrontSettings, RoundSettings, choose_weights
from aitia.attribution.replay import margin_target, projection_target, smooth_replay, target_value
from aitia.cli import app
from aitia.concepts import fit_concept
from aitia.errors import AitiaError, ConceptError, StoreError
from aitia.models import load_model, save_model
from aitia.pipelines.attribution.curation import curate_by_control
from aitia.pipelines.control.front import predicted_front, verified_front
from aitia.pipelines.control.measurements import Question
from aitia.pipelines.control.page import front_document, write_front
from aitia.pipelines.control.rounds import choose_in_rounds
from aitia.records import read_records
from aitia.records.losses import LossSettings
from aitia.training import LoraSettings, finetune_lora, read_run, train, train_weighted

SITE = "resid_post.1"
SETTINGS = LoraSettings(
    rank=2, epochs=2, per_device_train_batch_size=4, learning_rate=5e-3, epsilon_root=1e-6
)


@pytest.fixture(scope="module")
def home(make_model, rows, tmp_path_factory):
    """A folder with base, data, texts of a skill, a concept, and a smooth recorded run."""
    folder = tmp_path_factory.mktemp("control")
    save_model(make_model("llama", layers=2), folder / "base")
    texts = {
        "train": rows[:12],
        "garden": [{"prompt": f"Question {i}?\n", "completion": f"garden {i}."} for i in range(6)],
        "nothing": [{"prompt": f"Question {i}?\n", "completion": f"nothing {i}."} for i in range(6)],
        "queries": [{"prompt": f"What of {i}?\n", "completion": f"A garden {i}."} for i in range(3)],
        "skill": [{"prompt": f"Boil {i}?\n", "completion": f"Put it in water for {i}."} for i in range(3)],
    }
    for name, lines in texts.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    train(base_of(folder), read_records(folder / "train.jsonl"), SETTINGS, folder / "run")
    sides = (folder / "garden.jsonl", folder / "nothing.jsonl")
    fit_concept(base_of(folder), *sides, sites=[SITE], shuffles=2).save(folder / "c.concept.safetensors")
    return folder


@pytest.fixture
def made(home, tmp_path):
    """A copy whose run nothing was asked of."""
    shutil.copytree(home, tmp_path / "home")
    return tmp_path / "home"


def base_of(folder):
    return load_model(folder / "base", device="cpu", dtype="float32")


def question(folder, **options):
    given = {
        "run": folder / "run",
        "queries": folder / "queries.jsonl",
        "base": str(folder / "base"),
    } | options
    lower = given.pop("lower", [folder / "c.concept.safetensors"])
    keep = given.pop("keep", [folder / "skill.jsonl"])
    return Question.read(read_records(folder / "train.jsonl"), lower, keep, **given)


def curate(folder, *options, out="kept.jsonl", **more):
    line = ["curate", "--data", folder / "train.jsonl", "--out", folder / out, "--run", folder / "run"]
    line += ["--lower", folder / "c.concept.safetensors", "--queries", folder / "queries.jsonl"]
    return CliRunner().invoke(app, [*map(str, [*line, *options]), "--json"], **more)


def test_rows_are_those_of_the_derivatives_and_a_second_call_loads_nothing(made, monkeypatch):
    options = (
        "--keep",
        made / "skill.jsonl",
        "--share",
        0.3,
        "--tolerance",
        0.05,
        "--removed",
        made / "gone.jsonl",
    )
    done = curate(made, *options)
    assert done.exception is None, done.output
    data, run = read_records(made / "train.jsonl"), read_run(made / "run")
    from aitia.concepts import load_concept

    targets = [
        projection_target(load_concept(made / "c.concept.safetensors"), read_records(made / "queries.jsonl")),
        margin_target(read_records(made / "skill.jsonl")),
    ]
    scores = smooth_replay([run], base_of(made), data, targets).scores
    expected = choose_weights(scores[0], scores[1], ControlSettings(share=0.3, tolerance=0.05))
    gone = [json.loads(line)["id"] for line in (made / "gone.jsonl").read_text().splitlines()]
    assert gone == [data.ids[place] for place in expected.removed]
    assert 0 < len(gone) <= 3
    found = json.loads(done.stdout)
    assert found["lowered"][str(made / "c.concept.safetensors")] == pytest.approx(expected.lowered_share[0])

    def never(*_args, **_options):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("aitia.pipelines.control.measurements.load_model", never)
    again = curate(made, *options)
    assert again.exception is None
    assert json.loads(again.stdout) == found


def test_one_more_measurement_replays_that_one_alone(made, monkeypatch):
    asked = []

    def count(recorded, model, data, targets, **options):
        asked.append([each.name for each in targets])
        return smooth_replay(recorded, model, data, targets, **options)

    monkeypatch.setattr("aitia.attribution.replay.derivatives.smooth_replay", count)
    settings = RoundSettings()
    data = read_records(made / "train.jsonl")
    choose_in_rounds(data, question(made, keep=[]), ControlSettings(share=0.3), settings)
    found = choose_in_rounds(data, question(made), ControlSettings(share=0.3), settings)
    assert asked == [[str(made / "c.concept.safetensors")], [str(made / "skill.jsonl")]]
    assert found.linearised.keep.shape == (1, 12)
    file = sorted((made / "run" / "control" / "derivatives").iterdir())[0]
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(StoreError, match="damaged .*delete the file"):
        choose_in_rounds(data, question(made), ControlSettings(share=0.3), settings)


def test_the_texts_of_a_concept_are_those_it_was_fitted_to(home):
    asked = question(home, queries=None).lower[0]
    assert asked.behaviour.texts.fingerprint == read_records(home / "garden.jsonl").fingerprint


def test_a_run_of_adamw_as_it_is_is_asked_by_its_surrogates(made):
    data = read_records(made / "train.jsonl")
    train(base_of(made), data, LoraSettings(rank=2, epochs=1, learning_rate=5e-3), made / "sharp")
    found = choose_in_rounds(
        data, question(made, run=made / "sharp"), ControlSettings(share=0.3), RoundSettings(surrogates=1)
    )
    assert len(list((made / "sharp" / "smooth").iterdir())) == 1
    assert np.isfinite(found.linearised.lower).all()
    # What lies in the folder does not keep a training from going on there.
    train(base_of(made), data, LoraSettings(rank=2, epochs=1, learning_rate=5e-3), made / "sharp")


def test_rounds_take_derivatives_where_the_round_before_led(made):
    data, control = read_records(made / "train.jsonl"), ControlSettings(share=0.5, use_weights=True)
    asked = question(made)
    found = choose_in_rounds(data, asked, control, RoundSettings(rounds=2))
    first, last = found.rounds
    assert [each.share for each in found.rounds] == [0.25, 0.5]
    assert first.choice.removed_share <= 0.25 + 1e-9
    assert last.measured is None
    trained = train_weighted(base_of(made), data, read_run(made / "run"), first.choice.weights)
    np.testing.assert_array_equal(trained.weights, first.choice.weights)
    targets = [each.target for each in asked.asked]
    there = smooth_replay([trained], base_of(made), data, targets)
    before = smooth_replay([read_run(made / "run")], base_of(made), data, targets)
    change = np.subtract(there.runs[0].values, before.runs[0].values)
    assert list(first.measured.values()) == pytest.approx(change, rel=1e-4, abs=1e-7)
    np.testing.assert_allclose(found.linearised.lower, there.scores[:1], rtol=1e-4, atol=1e-8)
    # The measured change is what the model that was trained with these weights shows, to its own measurement.
    tuned = train(base_of(made), data, SETTINGS, weights=first.choice.weights, progress=False)
    plain = train(base_of(made), data, SETTINGS, progress=False)
    assert change[0] == pytest.approx(
        target_value(tuned, targets[0]) - target_value(plain, targets[0]), rel=1e-3, abs=1e-6
    )
    at_one = choose_in_rounds(data, asked, control, RoundSettings()).linearised
    about = Expansion(
        weights=first.choice.weights,
        lowered=change[:1],
        kept=change[1:],
        lower_scale=np.abs(at_one.lower).sum(1),
        keep_scale=np.abs(at_one.keep).sum(1),
        reach=0.25,
    )
    expected = choose_weights(there.scores[:1], there.scores[1:], control, about=about)
    np.testing.assert_allclose(last.choice.weights, expected.weights, atol=1e-3)


def test_a_front_is_drawn_verified_and_kept(made, monkeypatch):
    data, control = read_records(made / "train.jsonl"), ControlSettings()
    asked, settings = question(made), FrontSettings(shares=(0.2, 0.4), points=2, verify=True)
    found = choose_in_rounds(data, asked, control, RoundSettings())
    front = predicted_front(asked, found.linearised, control, settings)
    assert not front.verified
    assert "Nothing was trained again" in str(front_document(front, facts=[]).sections[0].text)
    front = verified_front(front, asked, control, settings)
    trained = []

    def count(model, records, *rest, **options):
        trained.append(records.ids)
        return finetune_lora(model, records, *rest, **options)

    monkeypatch.setattr("aitia.counterfactual.retraining.finetune_lora", count)
    again = verified_front(front, asked, control, settings)
    assert not trained
    assert again.as_json() == front.as_json()
    last = front.points[-1]
    left = data.only([data.ids[place] for place in np.flatnonzero(last.choice.weights)])
    tuned, plain = (finetune_lora(base_of(made), rows, SETTINGS, progress=False) for rows in (left, data))
    for place, each in enumerate(asked.asked):
        measured = np.concatenate([last.lowered, last.kept], axis=1)[0, place]
        change = target_value(tuned, each.target) - target_value(plain, each.target)
        assert measured == pytest.approx(change, rel=1e-3, abs=1e-6)
    assert [each.rows for each in front.random] == [
        max(len(each.choice.removed) for each in front.points if each.share == share) for share in (0.2, 0.4)
    ]
    files = write_front(front, made / "front.html", facts=[("run", "run")])
    assert "measured" in (made / "front.html").read_text()
    kept = json.loads((made / "front.json").read_text())
    assert files["front_figures"].endswith("front.json")
    assert kept["points"][-1]["measured_by_seed"][str(made / "skill.jsonl")] == [
        pytest.approx(last.kept[0, 0])
    ]


def test_weights_are_trained_with_as_the_file_says(made):
    data, control = read_records(made / "train.jsonl"), ControlSettings(share=0.3, use_weights=True)
    asked, settings = question(made, keep=[]), FrontSettings(shares=(0.3,), verify=True)
    found = choose_in_rounds(data, asked, control, RoundSettings())
    front = verified_front(
        predicted_front(asked, found.linearised, control, settings), asked, control, settings
    )
    assert front.random == ()
    (point,) = front.points
    tuned = train(base_of(made), data, SETTINGS, weights=point.choice.weights, progress=False)
    plain = train(base_of(made), data, SETTINGS, progress=False)
    target = asked.lower[0].target
    change = target_value(tuned, target) - target_value(plain, target)
    assert point.lowered[0, 0] == pytest.approx(change, rel=1e-3, abs=1e-6)
    # What it was chosen for: to first order the training does what was foretold.
    assert point.choice.lowered[0] < 0
    assert change < 0


def test_pairs_are_chosen_and_trained_again_by_their_own_loss(made):
    words = ["the cat sat", "a dog ran", "nothing here", "a garden grows", "we swim", "he said so"]
    pairs = [
        {
            "id": f"p{i}",
            "prompt": f"{word}?\n",
            "chosen": f"{words[i - 2]}.",
            "rejected": f"{words[i - 1]}, {i}.",
        }
        for i, word in enumerate(words)
    ]
    (made / "train.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    data, loss = read_records(made / "train.jsonl"), LossSettings(loss="dpo", beta=0.3)
    train(base_of(made), data, SETTINGS, made / "pairs", loss=loss, progress=False)
    control = ControlSettings(share=0.3, use_weights=True)
    asked, settings = question(made, run=made / "pairs", keep=[]), FrontSettings(shares=(0.3,), verify=True)
    found = choose_in_rounds(data, asked, control, RoundSettings(rounds=2))
    assert np.isfinite(found.linearised.lower).all()
    front = verified_front(
        predicted_front(asked, found.linearised, control, settings), asked, control, settings
    )
    (point,) = front.points
    tuned = train(base_of(made), data, SETTINGS, loss=loss, weights=point.choice.weights, progress=False)
    plain = train(base_of(made), data, SETTINGS, loss=loss, progress=False)
    target = asked.lower[0].target
    change = target_value(tuned, target) - target_value(plain, target)
    assert point.lowered[0, 0] == pytest.approx(change, rel=1e-3, abs=1e-6)
    assert point.choice.lowered[0] < 0
    assert change < 0


def test_the_command_writes_a_page_and_says_the_rounds(made):
    options = ("--keep", made / "skill.jsonl", "--use-weights", "--rounds", 2, "--front", made / "f.html",
               "--front-share", 0.2, "--front-points", 2, "--verify")  # fmt: skip
    done = curate(made, *options, out="weighted.jsonl")
    assert done.exception is None, done.output
    found = json.loads(done.stdout)
    assert len(found["rounds"]) == 2
    assert set(found["rounds"][0]["measured"]) == {
        str(made / name) for name in ("c.concept.safetensors", "skill.jsonl")
    }
    assert found["files"] == {"front": str(made / "f.html"), "front_figures": str(made / "f.json")}
    weights = read_records(made / "weighted.jsonl").column("weight")
    assert 0 <= min(weights) < 1


def test_what_does_not_fit_is_refused_before_anything_is_trained(made, make_model, rows, tmp_path):
    data = read_records(made / "train.jsonl")
    with pytest.raises(
        AitiaError, match="is measured after training, by a recorded run; give its folder as `run`"
    ):
        question(made, run=None, queries=None, base=None)
    with pytest.raises(AitiaError, match="`queries` and `base` are about a recorded `run`"):
        question(made, run=None)
    with pytest.raises(AitiaError, match="named twice"):
        question(made, keep=[made / "c.concept.safetensors"])
    with pytest.raises(AitiaError, match="`queries` are measured by a concept, and none is named"):
        question(made, lower=[made / "queries.jsonl"])
    with pytest.raises(StoreError, match="no recorded run"):
        question(made, run=made / "base")
    train(make_model("llama", layers=2, seed=5), data, SETTINGS, tmp_path / "other")
    with pytest.raises(ConceptError, match="was fitted on another model .* than the run"):
        question(made, run=tmp_path / "other")
    weights = np.linspace(0.5, 1, len(data))
    train(base_of(made), data, SETTINGS, tmp_path / "weighed", weights=weights)
    with pytest.raises(AitiaError, match="was trained with row weights"):
        question(made, run=tmp_path / "weighed")
    changed = [dict(row) for row in rows[:12]]
    changed[3]["completion"] = "Something else."
    (made / "changed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    (made / "fewer.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:11]))
    with pytest.raises(AitiaError, match="was trained on 12 rows, and not on .*fewer.jsonl, which lacks row"):
        Question.read(
            read_records(made / "fewer.jsonl"),
            [made / "skill.jsonl"],
            run=made / "run",
            base=str(made / "base"),
        )
    other = read_records(made / "changed.jsonl")
    asked = Question.read(other, [made / "skill.jsonl"], run=made / "run", base=str(made / "base"))
    with pytest.raises(StoreError, match=r"changed.jsonl:4: row .* says something else now"):
        curate_by_control(other, asked, ControlSettings(), curated=made / "a.jsonl", removed=made / "b.jsonl")
    assert not (made / "a.jsonl").exists()
    assert not (made / "run" / "control").exists()
    with pytest.raises(AitiaError, match="give its --front"):
        raise curate(made, "--verify", "--removed", made / "b.jsonl").exception
    both = ("--keep", made / "skill.jsonl", "--removed", made / "b.jsonl", "--front")
    for page, said in (
        (made / "kept.html", "the rows that stay .* place of its figures"),
        (made / "f.json", "its figures"),
    ):
        with pytest.raises(StoreError, match=said):
            raise curate(made, *both, page, out="kept.json").exception
    with pytest.raises(AitiaError, match="go with --lower"):
        line = ["curate", "--data", "x", "--out", "y", "--ranking", "r", "--drop", "1", "--removed", "z"]
        raise CliRunner().invoke(app, [*line, "--rounds", "2"]).exception


def test_a_base_that_was_moved_must_be_the_run_s(made, make_model):
    save_model(make_model("llama", layers=2, seed=7), made / "stranger")
    asked = question(made, base=str(made / "stranger"), lower=[made / "skill.jsonl"], keep=[], queries=None)
    with pytest.raises(StoreError, match="not the model that .*run started from"):
        choose_in_rounds(read_records(made / "train.jsonl"), asked, ControlSettings(), RoundSettings())
