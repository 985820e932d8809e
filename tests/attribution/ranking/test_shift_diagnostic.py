"""The shift diagnosis on stores whose prompt term is known."""

import numpy as np
import pyarrow as pa
import pytest

from aitia.attribution import ActivationStore, scan
from aitia.attribution.ranking.shift_diagnostic import LEAST_ROWS, diagnose_shift, explained_share
from aitia.concepts import Concept
from aitia.errors import AitiaError, ConceptError, NumericalError
from aitia.records import records_from_rows

SITE, WIDTH = "resid_post.0", 12
AXIS = np.eye(WIDTH)[0]


def make_concept(direction=AXIS):
    return Concept(
        name="tone",
        site=SITE,
        direction=direction,
        model_name="made up",
        model_fingerprint="",
        base_fingerprint="",
        recipe={},
    )


@pytest.fixture
def make_store(tmp_path):
    """make_store(prompt=t): along v, h = t z + y + (other things) and the gradient score is y + noise."""

    def make(
        *,
        prompt=0.0,
        noise=0.5,
        rows=600,
        activations=("response", "prompt_end", "backward"),
        reply=1.0,
        **more,
    ):
        draw = np.random.default_rng(4)
        z, y, e = draw.standard_normal((3, rows))
        off = draw.standard_normal((3, rows, WIDTH)) * (1 - AXIS)
        arrays = {
            "prompt_end": np.outer(prompt * z, AXIS) + 3 * off[0],
            "response": np.outer(prompt * z + reply * y, AXIS) + off[1],
            "backward": -np.outer(y + noise * e, AXIS) + off[2],
        } | more
        arrays["on_policy_response"] = arrays["prompt_end"]
        manifest = {
            "model": {"base_fingerprint": "none"},
            "data": {"rows": rows, "source": None, "skipped": []},
            "settings": {"sites": [SITE], "activations": list(activations)},
            "shards": 3,
        }
        table = pa.table(
            {
                "id": [str(i) for i in range(rows)],
                "row": np.arange(rows),
                "location": [f"row {i}" for i in range(rows)],
                "prompt_tokens": np.where(np.arange(rows) % 100 == 99, 0, 5),
                "response_tokens": np.full(rows, 7),
            }
        )
        folder = tmp_path / f"store-{len(list(tmp_path.iterdir()))}"
        store = ActivationStore.create_or_resume(folder, manifest, table)
        for number, positions in enumerate(np.array_split(draw.permutation(rows), 3)):
            kept = {f"{name}.{SITE}": arrays[name][positions].astype(np.float32) for name in activations}
            store.write_shard(number, {"position": positions.astype(np.int64), **kept})
        return ActivationStore.open(folder)

    return make


@pytest.mark.parametrize(
    ("prompt", "verdict"),
    [(0.0, "safe"), (0.3, "safe"), (0.8, "undecided"), (1.5, "unsafe"), (4.0, "unsafe")],
)
def test_a_growing_prompt_term_is_measured_and_judged(make_store, prompt, verdict):
    """For normal z and y: R^2 = t^2 / (t^2 + 1), and Spearman from Pearson's r by 6/pi arcsin(r/2)."""
    found = diagnose_shift(make_store(prompt=prompt), make_concept())
    assert found.rows == 594, "rows without a prompt are left out"
    for share in (found.projection_share, found.predicted_share):
        assert share.value == pytest.approx(prompt**2 / (prompt**2 + 1), abs=0.06)
        assert share.low <= share.value <= share.high
    assert found.agreement is not None
    assert found.agreement_of_difference is not None
    pearson = 1 / np.sqrt((prompt**2 + 1) * 1.25)
    assert found.agreement.value == pytest.approx(6 / np.pi * np.arcsin(pearson / 2), abs=0.07)
    free = 6 / np.pi * np.arcsin(np.sqrt(0.8) / 2)
    assert found.agreement_of_difference.value == pytest.approx(free, abs=0.05)
    assert found.verdict == verdict
    assert any("projection difference" in reason for reason in found.reasons) == (prompt >= 0.8)


def test_a_prompt_term_that_does_not_show_along_the_direction_is_found_all_the_same(make_store):
    """The kind of prompt stands on another axis of its activation, yet it decides the score."""
    draw = np.random.default_rng(5)
    kind, other = draw.standard_normal((2, 600))
    found = diagnose_shift(
        make_store(
            prompt_end=np.outer(kind, np.eye(WIDTH)[4]) + 0.1 * draw.standard_normal((600, WIDTH)),
            response=np.outer(2 * kind + other, AXIS),
        ),
        make_concept(),
    )
    assert found.projection_share.value < 0.05
    assert found.predicted_share.value == pytest.approx(0.8, abs=0.05)
    assert found.verdict == "unsafe"


def test_intervals_cover_the_truth_about_as_often_as_they_say(make_store):
    """The bootstrap's width against the large-sample standard error of r^2, 2 r (1 - r^2) / sqrt(n)."""
    share = diagnose_shift(make_store(prompt=1.0), make_concept()).projection_share
    error = 2 * np.sqrt(0.5) * 0.5 / np.sqrt(594)
    assert (share.high - share.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.2)


def test_a_ranking_that_gradients_contradict_is_unsafe_without_any_prompt_term(make_store):
    found = diagnose_shift(make_store(reply=-1.0), make_concept())
    assert found.projection_share.value < 0.02
    assert found.verdict == "unsafe"
    assert any("does not agree" in reason for reason in found.reasons)


def test_without_the_activation_gradient_nothing_is_called_safe(make_store):
    activations = ("response", "prompt_end")
    calm = diagnose_shift(make_store(activations=activations), make_concept())
    assert calm.verdict == "undecided"
    assert calm.agreement is None
    assert "--activation backward" in str(calm)
    assert diagnose_shift(make_store(prompt=3, activations=activations), make_concept()).verdict == "unsafe"


def test_on_policy_responses_stand_for_the_prompt_where_they_were_scanned(make_store):
    store = make_store(prompt=2, activations=("response", "prompt_end", "on_policy_response"))
    assert diagnose_shift(store, make_concept()).baseline == "on_policy_response"
    assert diagnose_shift(make_store(prompt=2), make_concept()).baseline == "prompt_end"


def test_the_answer_depends_on_no_other_direction_and_no_scale(make_store):
    turned = make_concept(-AXIS)
    store = make_store(prompt=1.5)
    first, second = diagnose_shift(store, make_concept()), diagnose_shift(store, turned)
    assert first.projection_share.value == pytest.approx(second.projection_share.value)
    assert first.predicted_share.value == pytest.approx(second.predicted_share.value)
    assert first.agreement.value == pytest.approx(second.agreement.value)
    aside = diagnose_shift(make_store(prompt=4), make_concept(np.eye(WIDTH)[1]))
    assert max(aside.projection_share.value, aside.predicted_share.value) < 0.05


def test_distance_from_the_fitting_texts(make_store):
    draw = np.random.default_rng(0)
    store = make_store()
    values = np.concatenate([block["response"] for _, block in store.blocks(["response"], SITE)])
    near = diagnose_shift(store, make_concept(), fitting_activations=values)
    assert abs(near.distance.along) < 0.05
    assert near.distance.off < 0.05
    assert near.verdict == "safe"
    # Off the axis there are 11 directions of variance 1: a step of 22 in one is 22 / sqrt(11) long.
    far = values + np.eye(WIDTH)[3] * 22 - AXIS * 2
    found = diagnose_shift(store, make_concept(), fitting_activations=far)
    assert found.distance.along == pytest.approx(2 / values[:, 0].std(), rel=0.05)
    assert found.distance.off == pytest.approx(22 / np.sqrt(11), rel=0.05)
    assert found.verdict == "undecided"
    assert "far from the texts" in str(found)
    with pytest.raises(AitiaError, match="width 12"):
        diagnose_shift(store, make_concept(), fitting_activations=draw.standard_normal((5, 3)))


def test_explained_share_is_that_of_least_squares():
    draw = np.random.default_rng(1)
    x = draw.standard_normal(50)
    y = 2 * x + draw.standard_normal(50) + 7
    line = np.polyval(np.polyfit(x, y, 1), x)
    assert explained_share(x, y) == pytest.approx(1 - ((y - line) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    assert explained_share(np.ones(50), y) == 0


def test_what_cannot_be_diagnosed_is_refused(make_store):
    with pytest.raises(AitiaError, match=f"at least {LEAST_ROWS}"):
        diagnose_shift(make_store(rows=40), make_concept())
    with pytest.raises(ConceptError, match="width"):
        diagnose_shift(make_store(), make_concept(np.ones(5)))
    with pytest.raises(NumericalError, match="same score"):
        diagnose_shift(make_store(response=np.ones((600, WIDTH))), make_concept())
    broken = np.ones((600, WIDTH))
    broken[7] = np.nan
    with pytest.raises(NumericalError, match="row 7: the stored prompt_end activation"):
        diagnose_shift(make_store(prompt_end=broken), make_concept())


def test_it_reads_a_real_store(tiny_model, tmp_path):
    rows = [{"prompt": f"Say {i}.\n", "completion": f"{i * i} it is"} for i in range(60)]
    store = scan(
        tiny_model,
        records_from_rows(rows),
        sites=["resid_post.1"],
        out=tmp_path / "s",
        activations=["backward"],
    )
    concept = Concept(
        name="c",
        site="resid_post.1",
        direction=np.random.default_rng(0).standard_normal(32),
        model_name="tiny",
        model_fingerprint=tiny_model.fingerprint,
        base_fingerprint=tiny_model.base_fingerprint,
        recipe={},
    )
    found = diagnose_shift(store, concept)
    assert str(found).startswith("Vector Filter for 'c' at resid_post.1 on 60 rows: ")
    assert found == diagnose_shift(store, concept)
