"""The measured table: every method judged on every network, one virtue a row, with intervals and floors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from aitia.explanations import Explanation, Settings, evaluate
from aitia.files import digest, write_json
from aitia.statistics import student_interval
from judged.subjects import Subject
from judged.worth import joint_interventions

VIRTUES = (
    "fidelity",
    "probing-agreement",
    "interchange-intervention-accuracy",
    "informativeness",
    "state-distinctions",
    "causal-by-writing",
    "leakage",
    "skill",
    "calibration-gap",
    "premises",
    "description-length",
    "compression",
    "k-complexity-bound",
    "premise-reuse",
    "scope",
    "excess-scope",
    "model-scope",
    "fruitfulness",
    "falsifiability",
    "mutation-score",
    "hard-to-vary",
    "load-bearing",
    "invariance",
    "law-support",
    "deductive-check",
    "tightness",
    "cost-ratio",
    "gain",
)
"""The virtues of the table; the others follow from them, or have no better end."""
JOINT = "several variables at once"
"""The row of the share of interventions on random halves of the variables that come out alike, where one moves."""
ACCOUNT = "the hypothesis itself"
"""The row that says why a phenomenon has no hypothesis of a kind."""
FULL = Settings(interventions=128, controls=6, mutants=6, variants=16, resamples=200)
QUICK = Settings(interventions=64, controls=2, mutants=2, variants=6, resamples=50)


def judged(subjects: Iterable[Subject], settings: Settings, folder: Path) -> list[dict[str, Any]]:
    """A card for each hypothesis of each network; those that were made before are read again."""
    cards = []
    for subject in subjects:
        own = subject.settings(settings)
        for name, reason in subject.cannot.items():
            cards.append({"family": subject.family, "hypothesis": name, "results": None, "reason": reason})
        for name, make in subject.hypotheses.items():
            key = [subject.family, subject.phenomenon.fingerprint, name, own.fingerprint]
            path = folder / f"{digest(key)[:16]}.json"
            if not path.exists():
                begun = perf_counter()
                explanation = make()
                made = perf_counter()
                if explanation is None:
                    write_json(path, {"family": subject.family, "hypothesis": name, "results": None})
                else:
                    card = evaluate(explanation, models=subject.others, settings=own)
                    found = card.as_json()["explanations"][0]
                    seconds = {"made": made - begun, "judged": perf_counter() - made}
                    write_json(
                        path, {"family": subject.family, "hypothesis": name, **found, "seconds": seconds}
                    )
                print(f"{subject.family}, {name}: {perf_counter() - begun:.0f} s", flush=True)
            cards.append(_with_joint(path, make))
    return cards


def _with_joint(path: Path, make: Callable[[], Explanation | None]) -> dict[str, Any]:
    """The card, with what becomes of interventions on several variables at once."""
    card = json.loads(path.read_text(encoding="utf-8"))
    if card["results"] and "joint" not in card:
        explanation = make()
        assert explanation is not None
        card["joint"] = joint_interventions(explanation, explanation.phenomenon.test_indices)
        write_json(path, card)
    return card


def table_rows(cards: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Virtue by virtue, the mean over the networks of a family, with Student's interval over them.

    With one network the interval is the card's own.
    """
    rows = []
    for family in dict.fromkeys(card["family"] for card in cards):
        for hypothesis in dict.fromkeys(card["hypothesis"] for card in cards if card["family"] == family):
            mine = [
                c for c in cards if (c["family"], c["hypothesis"]) == (family, hypothesis) and c["results"]
            ]
            if not mine:
                reasons = {
                    c.get("reason") for c in cards if (c["family"], c["hypothesis"]) == (family, hypothesis)
                }
                rows += [_not_applicable(family, hypothesis, reason) for reason in reasons if reason]
                continue
            rows.append(_conditions(family, hypothesis, mine))
            rows.append(_joint(family, hypothesis, mine))
            results = [{each["name"]: each for each in card["results"]} for card in mine]
            rows += [_row(family, hypothesis, name, [each[name] for each in results]) for name in VIRTUES]
    return rows


def _not_applicable(family: str, hypothesis: str, reason: str) -> dict[str, Any]:
    """The row of a hypothesis that a phenomenon cannot have."""
    common = {"phenomenon": family, "hypothesis": hypothesis, "virtue": ACCOUNT, "networks": 0, "value": None}
    return {**common, "status": "not applicable", "reason": reason}


def _row(family: str, hypothesis: str, name: str, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    common = {"phenomenon": family, "hypothesis": hypothesis, "virtue": name, "networks": len(results)}
    known = [each for each in results if each["value"] is not None]
    if not known:
        return {**common, "value": None, "status": results[0]["status"], "reason": results[0]["reason"]}
    values = np.array([each["value"] for each in known], dtype=float)
    floors = [each["floor"] for each in known if each["floor"] is not None]
    if len(known) > 1:
        interval = student_interval(values)
        low, high = interval.low, interval.high
    else:
        low, high = known[0]["interval"]["low"], known[0]["interval"]["high"]
    grades = [each["grade"] for each in known if each["grade"] is not None]
    details = [each["details"] for each in known]
    moved = [each["alike_where_moved"] for each in details if each.get("alike_where_moved") is not None]
    return {
        **common,
        "value": float(values.mean()),
        "low": low,
        "high": high,
        "floor": float(np.mean(floors)) if floors else None,
        "status": known[0]["status"],
        "evaluable": len(known),
        "grades": {grade: grades.count(grade) for grade in dict.fromkeys(grades)},
        "not discriminating": sum(each["discriminating"] is False for each in known),
        **({"alike where moved": float(np.mean(moved))} if moved else {}),
    }


def _conditions(family: str, hypothesis: str, cards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    met = {
        condition["name"]: float(np.mean([card["conditions"][i]["met"] is True for card in cards]))
        for i, condition in enumerate(cards[0]["conditions"])
    }
    seconds = float(np.mean([card["seconds"]["made"] for card in cards]))
    return {
        "phenomenon": family,
        "hypothesis": hypothesis,
        "virtue": "conditions met",
        "networks": len(cards),
        "met": met,
        "seconds to make": seconds,
    }


def _joint(family: str, hypothesis: str, cards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    known = np.array([card["joint"] for card in cards if card["joint"] is not None], dtype=float)
    interval = student_interval(known) if len(known) > 1 else None
    return {
        "phenomenon": family,
        "hypothesis": hypothesis,
        "virtue": JOINT,
        "networks": len(cards),
        "value": float(known.mean()) if len(known) else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "status": "estimated" if len(known) else "not evaluable",
    }


def highly(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Hypothesis -> how many graded virtues it has highly, weakly, not, or without a value, over phenomena."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["virtue"] in ("conditions met", JOINT, ACCOUNT):
            continue
        counts = found.setdefault(row["hypothesis"], {"highly": 0, "weakly": 0, "not": 0, "no value": 0})
        if row["value"] is None:
            counts["no value"] += 1
        elif row["grades"]:
            counts[max(row["grades"], key=lambda grade: (row["grades"][grade], grade == "not"))] += 1
    for counts in found.values():
        counts["share highly"] = counts["highly"] / sum(counts.values())
    return found
