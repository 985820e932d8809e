"""The offline judge: against scikit-learn by itself, on texts whose answer is known, and its refusals."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from aitia.counterfactual import ClassifierJudge, fit_classifier_judge, load_classifier_judge
from aitia.errors import JudgeError


@dataclass(frozen=True)
class WordEncoder:
    """A vector of noise that the text seeds, with a push along the first axis for each `sad`."""

    push: float = 3.0
    fingerprint: str = "words"

    def __call__(self, texts):
        rows = []
        for text in texts:
            noise = np.random.default_rng(list(text.strip().lower().encode())).standard_normal(8)
            noise[0] += self.push * text.lower().split().count("sad")
            rows.append(noise / 4)
        return np.array(rows)


SAD = [f"sad day number {i}" for i in range(40)]
GLAD = [f"fine day number {i}" for i in range(60)]


@pytest.fixture(scope="module")
def judge():
    return fit_classifier_judge(SAD, GLAD, WordEncoder())


def test_grades_are_those_of_scikit_learn(judge):
    fresh = [f"{word} evening {i}" for word in ("sad", "fine") for i in range(5)]
    head = LogisticRegression(C=10, class_weight="balanced", max_iter=1000)
    head.fit(WordEncoder()(SAD + GLAD), [1] * 40 + [0] * 60)
    expected = head.predict_proba(WordEncoder()(fresh))[:, 1]
    found = judge.scores([""] * 10, fresh)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert ((found >= 0) & (found <= 1)).all()
    assert found[:5].mean() > 0.8 > 0.2 > found[5:].mean()


def test_held_out_auc_is_high_where_there_is_something_and_covers_chance_where_there_is_nothing(judge):
    assert judge.held_out.auc > 0.93
    assert judge.held_out.low <= judge.held_out.auc <= judge.held_out.high
    blind = fit_classifier_judge(SAD, GLAD, WordEncoder(push=0)).held_out
    assert blind.low < 0.5 < blind.high
    assert "held-out AUC" in str(blind)


def test_the_interval_is_as_wide_as_theory_says(judge):
    """Standard error of an AUC by Hanley and McNeil 1982."""
    blind = fit_classifier_judge(SAD, GLAD, WordEncoder(push=1)).held_out
    a, n, m = blind.auc, 40, 60
    q, r = a / (2 - a), 2 * a**2 / (1 + a)
    error = np.sqrt((a * (1 - a) + (n - 1) * (q - a**2) + (m - 1) * (r - a**2)) / (n * m))
    assert (blind.high - blind.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.2)


def test_groups_are_held_out_together():
    """Texts of a group are near copies; only a head that saw the copies can tell the noise apart."""

    class ById:
        fingerprint = "id"

        def __call__(self, texts):
            return np.array([np.random.default_rng(int(t.split()[1])).standard_normal(60) for t in texts])

    first = [f"copy{c} {i}" for i in range(20) for c in range(4)]
    second = [f"copy{c} {i}" for i in range(20, 40) for c in range(4)]
    groups = [text.split()[1] for text in first + second]
    leaky = fit_classifier_judge(first, second, ById()).held_out.auc
    honest = fit_classifier_judge(first, second, ById(), groups=groups).held_out.auc
    assert leaky > 0.99
    assert honest < 0.75


def test_fitted_texts_are_not_judged(judge):
    with pytest.raises(JudgeError, match=r"text 1 \('Sad DAY number 3'\) and 0 more of 2") as error:
        judge.scores(["", ""], ["something new", " Sad  DAY number 3\n"])
    assert "max_overlap" in str(error.value)
    tolerant = replace(judge, max_overlap=0.5)
    assert len(tolerant.scores(["", ""], ["something new", "sad day number 3"])) == 2
    with pytest.raises(JudgeError):
        tolerant.scores(["", ""], ["sad day number 2", "sad day number 3"])


def test_saving_keeps_the_very_grades(judge, tmp_path):
    path = judge.save(tmp_path / "judge.safetensors")
    again = load_classifier_judge(path, WordEncoder())
    texts = ["sad thing", "merry thing"]
    np.testing.assert_array_equal(again.scores(texts, texts), judge.scores(texts, texts))
    assert (again.held_out, again.fitted, again.max_overlap) == (judge.held_out, judge.fitted, 0.0)
    with pytest.raises(JudgeError, match="another encoder"):
        load_classifier_judge(path, WordEncoder(fingerprint="other"))


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(JudgeError, match="no such file"):
        load_classifier_judge(tmp_path / "none", WordEncoder())
    save_file({"weights": np.zeros(2)}, tmp_path / "other")
    with pytest.raises(JudgeError, match="not a judge"):
        load_classifier_judge(tmp_path / "other", WordEncoder())
    (tmp_path / "torn").write_bytes(b"abc")
    with pytest.raises(JudgeError, match="damaged"):
        load_classifier_judge(tmp_path / "torn", WordEncoder())


@pytest.mark.parametrize(
    ("positive", "negative", "groups", "message"),
    [
        (["a", "a"], ["b", "c"], None, "at least two different texts"),
        (["a", "b"], ["B ", "c"], None, r"both positive and negative, such as positive text 1 \('b'\)"),
        (["a", "b"], ["c", "d"], ["g"], "1 groups for 4 texts"),
    ],
)
def test_texts_that_cannot_be_fitted_are_refused(positive, negative, groups, message):
    with pytest.raises(JudgeError, match=message):
        fit_classifier_judge(positive, negative, WordEncoder(), groups=groups)


def test_edges():
    judge = ClassifierJudge(
        encoder=WordEncoder(),
        weights=np.ones(8),
        intercept=0.5,
        held_out=fit_classifier_judge(SAD, GLAD, WordEncoder()).held_out,
        fitted=frozenset(),
    )
    assert judge.scores([], []).shape == (0,)
    assert judge.scores([""], ["x"])[0] == pytest.approx(expit(WordEncoder()(["x"])[0].sum() + 0.5))
    with pytest.raises(JudgeError, match="1 prompts, but 2 responses"):
        judge.scores(["a"], ["b", "c"])
