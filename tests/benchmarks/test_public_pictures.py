"""Pictures of the public benchmark: what has been measured is drawn, and nothing else."""

from public.pictures import concept_figure, draw, finding_figure

FOUND = [
    {"part": "gsm8k", "scorer": "tf-idf", "auc": 0.5, "auc_low": 0.4, "auc_high": 0.6},
    {"part": "gsm8k", "scorer": "random", "auc": 0.7, "gain": 0.0},
    {"part": "gsm8k", "scorer": "vector-filter", "auc": 0.6, "auc_low": 0.5, "auc_high": 0.7, "gain": 0.1},
    {"part": "gsm8k", "scorer": "influence", "auc": 0.8, "gain": 0.2},
    {"part": "gsm8k", "probe": "tuned", "held_out_auc": 0.7},
    {"part": "xstest", "scorer": "influence", "auc": 0.9},
]


def test_scorers_stand_above_baselines_best_first():
    figure = finding_figure(FOUND, "gsm8k", "title")
    assert figure is not None
    assert [bar.label for bar in figure.bars] == ["influence", "vector-filter", "random", "tf-idf"]
    assert [bar.baseline for bar in figure.bars] == [False, False, True, True]
    assert finding_figure(FOUND, "facts", "title") is None


def test_concepts_are_those_of_one_set_of_negatives():
    row = {"part": "axbench", "concept": "mean", "model": "m", "method": "contrast", "auc": 0.9}
    rows = [{**row, "against": each} for each in ("all other texts", "texts of no concept")]
    figure = concept_figure([*rows, {**rows[0], "concept": 3}], "title")
    assert figure is not None
    assert [bar.label for bar in figure.bars] == ["contrast, m"]
    assert concept_figure(FOUND, "title") is None


def test_only_what_was_measured_is_drawn(tmp_path):
    (picture,) = draw(FOUND, tmp_path)
    assert picture == tmp_path / "public-gsm8k.svg"
    assert picture.read_text(encoding="utf-8").lstrip().startswith("<?xml")
