"""A configuration is made from the user's own files, and can be run."""

import json

import pytest
import yaml

from aitia.errors import AitiaError
from aitia.models import save_model
from aitia.pipelines.attribution.configuration import read_configuration
from aitia.pipelines.attribution.starting import start


@pytest.fixture
def places(tiny_model, rows, tmp_path):
    save_model(tiny_model, tmp_path / "model")
    planted = [row | {"planted": place % 2 == 0, "score": 0.5} for place, row in enumerate(rows[:6])]
    for name, part in (("train", planted), ("positive", rows[6:10]), ("negative", rows[10:14])):
        text = "".join(json.dumps(row) + "\n" for row in part)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def test_files_beside_the_data_are_found_and_the_configuration_reads(places):
    started = start(places / "train.jsonl", places / "deep" / "a.yaml", model=str(places / "model"))
    assert not started.missing
    found = read_configuration(started.path)
    assert found.data.path.resolve() == places / "train.jsonl"
    assert found.concept.positive.resolve() == places / "positive.jsonl"
    assert found.concept.sites
    assert all(site.startswith("resid_post.") for site in found.concept.sites)
    text = started.path.read_text(encoding="utf-8")
    assert '# label: "planted"' in text
    assert "score" not in text


def test_what_is_missing_is_said(places):
    (places / "positive.jsonl").unlink()
    started = start(places / "train.jsonl", places / "a.yaml")
    assert [each.split(":")[0] for each in started.missing] == ["model.name", "concept.positive"]
    assert "before it can run" in started.text()
    written = yaml.safe_load(started.path.read_text(encoding="utf-8"))
    assert written["model"]["name"] == "MODEL"
    assert written["concept"]["positive"] == "POSITIVE"


def test_a_file_of_the_users_is_not_written_over(places):
    (places / "a.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(AitiaError, match="is there already"):
        start(places / "train.jsonl", places / "a.yaml")
    assert (places / "a.yaml").read_text(encoding="utf-8") == "mine"


def test_odd_names_are_quoted(places):
    odd = places / 'a "quoted": #name'
    odd.mkdir()
    (odd / "train.jsonl").write_bytes((places / "train.jsonl").read_bytes())
    started = start(
        odd / "train.jsonl",
        places / "a.yaml",
        model=str(places / "model"),
        positive=places / "positive.jsonl",
        negative=places / "negative.jsonl",
    )
    assert read_configuration(started.path).data.path == odd / "train.jsonl"


def test_data_that_cannot_be_read_are_named(places):
    with pytest.raises(AitiaError, match=r"none\.jsonl"):
        start(places / "none.jsonl", places / "a.yaml")
    assert not (places / "a.yaml").exists()


@pytest.mark.parametrize(
    ("row", "loss"),
    [
        ({"prompt": "a", "chosen": " b", "rejected": " c"}, "dpo"),
        ({"prompt": "a", "completion": " b", "label": True}, "kto"),
        ({"prompt": "a", "completion": " b"}, "sft"),
    ],
)
def test_the_loss_is_that_of_the_shape(places, row, loss):
    (places / "others.jsonl").write_text(json.dumps(row) + "\n")
    started = start(places / "others.jsonl", places / "a.yaml", model=str(places / "model"))
    assert read_configuration(started.path).data.loss == loss
    assert ("loss:" in started.path.read_text()) == (loss != "sft")
