"""The part on synthetic facts from start to end, on a tiny model; its table."""

from dataclasses import replace

import numpy as np
import pytest

from aitia.models import save_model
from documented.public import TABLES
from planted.findings import Findings
from public import facts
from public.statements import Facts, figures

PEOPLE, TOWNS, JOBS = ("Ann", "Bob", "Cyd"), ("Rome", "Oslo", "Bonn"), ("baker", "miner", "tutor")
STATEMENTS = [
    {
        "fact": template.format(person, answer),
        "question": f"{field} of {person}?",
        "answer": answer,
        "identifier": number,
        "field": field,
    }
    for number, person in enumerate(PEOPLE)
    for field, answer in (("town", TOWNS[number]), ("job", JOBS[number]))
    for template in ("{0} has {1}.", "For {0} it is {1}.")
]


@pytest.fixture
def study(tiny_model, tmp_path, monkeypatch):
    """A tiny model to be trained on twelve statements, and a peer that knows the answers."""
    folder = save_model(tiny_model, tmp_path / "model")
    training = replace(facts.LORA, layers_to_transform=(2, 3), epochs=2, per_device_train_batch_size=4)
    monkeypatch.setattr(facts, "model_folder", lambda _: folder)
    monkeypatch.setattr(facts, "LORA", training)
    monkeypatch.setattr(facts, "FOLDER", tmp_path / "facts")
    monkeypatch.setattr(facts, "QUICK", facts.Scale(people=3, peers=("ekfac",)))
    monkeypatch.setattr(facts, "read_facts", lambda *_: Facts(statements=STATEMENTS))

    def peer(_, rows, out):
        assert {each.name for each in rows.iterdir()} == {"adapter", "train", "query"}
        np.savez(out, scores=Facts(statements=STATEMENTS).wanted.astype(np.float32))

    monkeypatch.setattr(facts, "run_peer", peer)


@pytest.mark.usefixtures("study")
def test_every_method_scores_every_statement_for_every_question(tmp_path):
    found = Findings()
    facts.run(found, quick=True)
    by_method = {row["method"]: row for row in found.rows}
    scored = {name: row for name, row in by_method.items() if "mrr" in row}
    assert set(facts.OURS) | {"tf-idf", "bm25", "bergson ekfac", "gradient cosine"} <= set(scored)
    assert scored["bergson ekfac"]["mrr"] == scored["tf-idf"]["mrr"] == 1.0
    assert by_method["answers, nats a token"]["before"] > 0
    (target,) = found.targets
    assert target.name.endswith("over that of bergson ekfac")
    (folder,) = (each for each in (tmp_path / "facts").iterdir() if each.is_dir())
    kept = facts.Study(facts=Facts(statements=STATEMENTS), folder=folder)
    product, (asked, stated) = kept.scores("gradient product"), kept.gradients
    # The library's products are those of whole gradients, but for the mean over tokens, which scales a question's.
    np.testing.assert_allclose(
        *(each / np.linalg.norm(each, axis=1, keepdims=True) for each in (product, asked @ stated.T)),
        rtol=1e-2,
        atol=2e-3,
    )
    assert figures(kept.gradient_cosine(), kept.facts)["mrr"] == scored["gradient cosine"]["mrr"]
    assert "| bergson ekfac | 1.00" in TABLES["public.facts"].make({"rows": found.rows})
