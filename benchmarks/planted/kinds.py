"""Suites for group influence: the planted ones, data with nothing planted, and what is kept of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from planted.findings import LORA
from planted.study import trained_from
from planted.suites import Suite, tone
from planted.texts import MOODS, mood_answers, told

from aitia.attribution import Ranking, rank, scan
from aitia.attribution.curvature import CurvatureSettings
from aitia.attribution.curvature_fitting import fit_curvature
from aitia.concepts import fit_concept, load_concept
from aitia.counterfactual import finetune_lora
from aitia.files import digest
from aitia.models import load_model
from aitia.records import records_from_rows

SITE = "resid_post.16"
METHOD = "concept-gradient-product"
CLEAN_ROWS = 128
CLEAN_MOODS = tuple(mood for mood in MOODS if mood != "depressed")
"""The concept is depressed tone: in none of these is anything planted."""


def clean(seed: int) -> Suite:
    """128 rows in one mood, nothing planted; concept and queries are those of `tone`."""
    mood = CLEAN_MOODS[seed % len(CLEAN_MOODS)]
    suite = tone(seed)
    kept_apart = {record.question for part in (suite.positive, suite.queries) for record in part}
    answers = {
        prompt: answer for prompt, answer in mood_answers(mood).items() if f"{prompt}\n" not in kept_apart
    }
    prompts = np.random.default_rng(seed).permutation(sorted(p for p in answers if len(answers[p]) <= 200))
    rows = [
        told(str(prompt), answers[prompt], planted=False) | {"id": f"train-{i}"}
        for i, prompt in enumerate(prompts[:CLEAN_ROWS])
    ]
    return replace(suite, name=f"clean {mood}", data=records_from_rows(rows))


def scored(suite: Suite, base: Path, work: Path) -> Ranking:
    """Train on a suite's data, and rank its rows; adapter, store and concept are kept and found again."""
    folder = (
        work
        / f"{suite.name.replace(' ', '-')}-{digest([suite.data.fingerprint, LORA.identity(), SITE])[:12]}"
    )
    adapter = folder / "adapter"
    if not (adapter / "adapter_config.json").is_file():
        finetune_lora(trained_from(base), suite.data, LORA, adapter)
    model = load_model(base, adapter=adapter, dtype="float32")
    if (folder / "concept.safetensors").is_file():
        concept = load_concept(folder / "concept.safetensors")
    else:
        concept = fit_concept(model, suite.positive, suite.negative, name="depressed tone", sites=[SITE])
        concept.save(folder / "concept.safetensors")
    store = scan(
        model, suite.data, sites=[SITE], out=folder / "store", signals=("response", "prompt_end", "backward")
    )
    curvature = fit_curvature(model, suite.data, CurvatureSettings(kind="identity", parameters="lora"))
    ranking = rank(store, concept, method=METHOD, queries=suite.queries, curvature=curvature)
    ranking.write(folder / "ranking.parquet")
    return ranking
