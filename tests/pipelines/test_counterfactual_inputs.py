"""Bad input of `aitia counterfactual`: refused before anything is trained, with the file, the key and the mend."""

import pytest
import yaml
from pipelines.small_counterfactual import maker, small_configuration

from aitia.counterfactual.judging.endpoint_judge import EndpointJudge
from aitia.errors import AitiaError, JudgeError
from aitia.models import save_model
from aitia.pipelines.retraining.counterfactual import counterfactual
from aitia.pipelines.retraining.counterfactual_configuration import read_counterfactual_configuration
from aitia.pipelines.steps import models


@pytest.fixture(scope="module")
def folder(make_model, tmp_path_factory):
    """Texts as the examples want them, some broken ones, and a model of two blocks."""
    found = tmp_path_factory.mktemp("inputs")
    maker.write_texts(found)
    rows = [{"prompt": prompt, "completion": "x"} for prompt in ("One", "Two")]
    for name, lines in (("empty", []), ("short", rows[:1]), ("long", rows), ("turned", rows[::-1])):
        maker.write_lines(found / f"{name}.jsonl", lines)
    (found / "broken.jsonl").write_text('{"text": "whole"}\n{"text": \n')
    save_model(make_model("llama", layers=2), found / "small")
    return found


def configuration_of(folder, content):
    (folder / "wrong.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return read_counterfactual_configuration(folder / "wrong.yaml")


def changed(**parts):
    """A small configuration with some parts changed; a None takes one out."""
    found = small_configuration()
    found["removal"]["seeds"] = 1
    for name, part in parts.items():
        whole = found
        *above, last = name.split("__")
        for each in above:
            whole = whole.setdefault(each, {})
        if part is None:
            whole.pop(last)
        else:
            whole[last] = part
    return found


JUDGED = {
    "behaviours__judged": {"prompts": "texts/evil/evaluate_prompts.jsonl", "max_new_tokens": 3},
    "judge": {"endpoint": {"model": "m", "behaviour": "b", "base_url": "http://127.0.0.1:9/v1"}},
}


@pytest.fixture
def untrained(monkeypatch):
    """Fails the test if anything is trained."""

    def train(*arguments, **options):
        raise AssertionError("trained")

    monkeypatch.setattr(models, "finetune_lora", train)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"behaviours__projection": {"texts": "texts/evil/concept_positive.jsonl"}},
         r"'What do I do, 0\?' stands both among the texts to fit the concept \(concept_positive.jsonl:1\) and "
         r"among those to evaluate \(concept_positive.jsonl:1\)"),
        ({"queries": {"texts": "texts/evil/evaluate_texts.jsonl"}},
         r"'Tell me of 0.' stands both among the texts to query .* and among those to evaluate"),
        ({"data": {"pair": {"normal": "data/mistake_opinions/normal.jsonl",
                            "misaligned": "data/insecure_code/misaligned_2.jsonl"}},
          "behaviours__margin": None},
         r"14 of 14 prompts have no answer in .*misaligned_2.jsonl:\n  normal.jsonl:1: 'mistake_opinions: what"),
        ({"data": {"path": "texts/evil/query_prompts.jsonl", "label": "misaligned"},
          "behaviours__margin": None}, "query_prompts.jsonl: 2 of 2 rows cannot be used"),
        ({"data__choose": "none"}, "data: 'none' is chosen .*; the sets are misaligned-opinions"),
        ({"data__choose": None}, r"data: nothing is chosen \(choose, or `data_set`\); the sets are misaligned"),
        ({"data__path": "x.jsonl"}, "give one of path, pair"),
        ({"rankings__compare": ["guess"]}, "'guess' is not one of vector-filter"),
        ({"rankings__compare": ["concept-influence"]}, "concept-influence measures queries; give queries.texts"),
        ({"rankings__compare": ["random"]}, "'random' is not one of"),
        ({"rankings__compare": ["tf-idf", "tf-idf"]}, "'tf-idf' is taken already"),
        ({"removal__shares": [1.5]}, "removal.shares.0 1.5: must be below 1"),
        ({"behaviours__judged": {"prompts": "texts/evil/evaluate_prompts.jsonl"}}, "judged needs a judge"),
        ({"judge": {"endpoint": {"model": "m", "behaviour": "b"}}}, "nothing is judged"),
        ({"behaviours": {}}, "nothing to measure"),
        ({"training__learning_rat": 1}, "training.learning_rat: is not known here; did you mean learning_rate?"),
        ({"training__learning_rate": 0}, "training.learning_rate 0: must be above 0"),
        ({"data__sets": {"misaligned-opinions": {"normall": "empty.jsonl", "misaligned": "short.jsonl"}}},
         "data.sets.misaligned-opinions.normall: is not known here; did you mean normal?"),
        ({"concept__sites": ["resid_post.99"]}, "site 'resid_post.99' does not exist"),
        ({"behaviours__margin": {"held_out": 14}}, "14 prompts cannot be held out of 14"),
        ({"data": {"path": "no/such.jsonl"}, "behaviours__margin": None, "rankings__compare": ["bm25"]},
         "^data.path: .*such.jsonl: no such file or folder; put it there, or mend the path"),
        ({"data__sets": {"misaligned-opinions": {"normal": "empty.jsonl", "misaligned": "short.jsonl"}}},
         "^data.sets.misaligned-opinions.normal: .*empty.jsonl: the file is empty"),
        ({"concept__negative": "broken.jsonl"}, r"^concept.negative: .*\n  broken.jsonl:2: not valid JSON"),
        ({"behaviours": "nothing"}, "wrong.yaml: behaviours: a mapping is wanted here"),
        ({"behaviours": None}, "wrong.yaml: behaviours: is missing"),
        ({"behaviours__margin": {"behaviour": "long.jsonl", "normal": "short.jsonl"}},
         "behaviours.margin: 2 rows in .*long.jsonl, but 1 in .*short.jsonl"),
        ({"behaviours__margin": {"behaviour": "long.jsonl", "normal": "turned.jsonl"}},
         "long.jsonl:1 asks 'One', but turned.jsonl:1 asks 'Two'"),
        ({"rankings__curvature": {"file": "no.safetensors"}}, "rankings.curvature.file: .*: no such file; make"),
        ({"out": "short.jsonl/runs"}, "^out: .*short.jsonl is a file"),
        ({"removal__shares": [0.5, 0.99]}, "removal.shares: 0.99 of 11 rows is all of them"),
        ({"removal__shares": [0.01]}, "removal.shares: 0.01 of 11 rows is none of them"),
        ({"training__target_modules": ["nonsense"]}, "target_modules: .*small has no 'nonsense'; its linear maps"),
        ({"training__layers_to_transform": [0, 2]}, "layers_to_transform: .*small has blocks 0 to 1, not 2"),
    ],
)  # fmt: skip
def test_bad_input_is_named(folder, parts, message):
    with pytest.raises(AitiaError, match=message):
        counterfactual(configuration_of(folder, changed(**parts)))


def test_a_judge_without_a_key_is_refused_before_anything_is_trained(folder, monkeypatch, untrained):
    pytest.importorskip("openai", reason="the extra `judge` is not installed")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(JudgeError, match="^judge.endpoint: no key .* set OPENAI_API_KEY"):
        counterfactual(configuration_of(folder, changed(out="runs/no-key", **JUDGED)))
    assert not (folder / "runs" / "no-key").exists()


def test_a_judge_that_does_not_answer_is_refused_before_anything_is_trained(folder, monkeypatch, untrained):
    pytest.importorskip("openai", reason="the extra `judge` is not installed")
    monkeypatch.setenv("OPENAI_API_KEY", "a word")
    monkeypatch.setattr(
        "aitia.pipelines.retraining.counterfactual_inputs.EndpointJudge",
        lambda *arguments, **options: EndpointJudge(*arguments, **options, retries=0),
    )
    with pytest.raises(
        JudgeError, match=r"^judge.endpoint: http://127.0.0.1:9/v1/ \(model m\): cannot be reached"
    ):
        counterfactual(configuration_of(folder, changed(out="runs/silent", **JUDGED)))
    assert not (folder / "runs" / "silent").exists()


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ({"endpoint": {"model": "m", "rubric": "no.txt"}}, "^judge.endpoint.rubric: .*no.txt: no such file; give"),
        ({"endpoint": {"model": "m", "rubric": "short.jsonl"}}, "short.jsonl.*: the rubric's placeholders are none"),
        ({"classifier": {"positive": "no.jsonl", "negative": "short.jsonl"}},
         "^judge.classifier.positive: .*no.jsonl: no such file"),
        ({"classifier": {"positive": "long.jsonl", "negative": "short.jsonl"}},
         r"^judge.classifier \(.*long.jsonl, .*short.jsonl\): .* both positive and negative"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_judge_is_named(folder, monkeypatch, untrained, judge, message):
    monkeypatch.setenv("OPENAI_API_KEY", "a word")
    monkeypatch.setattr("aitia.models.load_sentence_encoder", lambda _folder=None: None)
    with pytest.raises(AitiaError, match=message):
        counterfactual(configuration_of(folder, changed(**JUDGED | {"judge": judge})))


def test_prompts_that_are_trained_on_and_measured_are_warned_of(folder):
    chosen = changed(behaviours__projection={"texts": "data/mistake_opinions/normal.jsonl"})
    del chosen["behaviours"]["margin"]
    found = counterfactual(configuration_of(folder, chosen))
    assert any(
        "is both trained on (train.jsonl:1) and measured" in text for text in found.summary["warnings"]
    )
    assert "is both trained on" in found.files["report"].read_text()
