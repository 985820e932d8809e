"""Scorecards from their plain data: a document or a section of one, or Markdown for papers.

The radar is drawn as SVG, so that the page needs no plotting library, prints well, and stays small. All text is
taken for hostile: it is escaped, cut, and its hidden characters are shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aitia.report.document import Card, Document, Section
from aitia.report.line_styles import COLOURS
from aitia.report.text import cut, fixed, visible

RADAR = (
    ("fidelity", "right answers"),
    ("probing-agreement", "readable inside"),
    ("interchange-intervention-accuracy", "right causes"),
    ("skill", "skill"),
    ("compression", "conciseness"),
    ("scope", "scope"),
    ("falsifiability", "risk"),
    ("hard-to-vary", "hard to vary"),
    ("invariance", "lawfulness"),
    ("tightness", "proof"),
)
"""Virtues on the radar, each from 0 in the middle to 1 outside; those without a value leave a gap."""

MOST = 5
"""Most explanations drawn in one radar."""

_SIZE, _RADIUS = 460, 130
_MARKS = {ord(mark): f"&#{ord(mark)};" for mark in "\\`*_[]<>|#~&"}
"""What means something to Markdown or HTML, as what it looks like."""


def scorecard_document(card: Mapping[str, Any]) -> Document:
    """The page of a card alone.

    Args:
        card: as `Scorecard.as_json` gives it.

    Returns:
        HTML.
    """
    first, phenomenon = card["explanations"][0], card["phenomenon"]
    whole = "which are the whole domain" if phenomenon["exhaustive"] else "a sample"
    facts = {
        "phenomenon": phenomenon["name"],
        "model": phenomenon["model"],
        "weights": phenomenon["model_fingerprint"][:16],
        "judged on": f"{phenomenon['test_inputs']:,} of {phenomenon['inputs']:,} inputs, {whole}",
        "outcomes": f"{len(phenomenon['outcomes'])}: {', '.join(phenomenon['outcomes'])}",
        "the null predicts": phenomenon["null"],
        "settings, seed": f"{card['settings_fingerprint'][:16]}, {card['settings']['seed']}",
    }
    return Document(
        title=first["name"],
        question=first["verdict"],
        facts=tuple(facts.items()),
        sections=[Section(key="scorecard", title="Scorecard", parts=[Card(card=card)])],
    )


def scorecard_section(card: Mapping[str, Any]) -> Section:
    """The card as a section of the report of a run, whose rankings it judges.

    Args:
        card: as `Scorecard.as_json` gives it.

    Returns:
        The section.
    """
    phenomenon = card["phenomenon"]
    text = (
        f"{phenomenon['name']}: {phenomenon['test_inputs']:,} of {phenomenon['inputs']:,} trainings judge, the others "
        f"were fitted on; the null predicts: {phenomenon['null']}. Settings {card['settings_fingerprint'][:16]}, seed "
        f"{card['settings']['seed']}."
    )
    return Section(
        key="scorecard",
        title="The rankings as explanations",
        short="Scorecard",
        text=text,
        parts=[Card(card=card)],
    )


def card_values(card: Mapping[str, Any]) -> dict[str, Any]:
    """What the template of a card is given beside the card."""
    explanations = card["explanations"]
    return {
        "names": [each["name"] for each in explanations],
        "colours": [COLOURS[i % len(COLOURS)] for i in range(len(explanations))],
        "radar": radar(explanations[:MOST]),
        "drawn": MOST,
        "kinds": _groups_of(explanations),
        "size": _SIZE,
        "height": round(2.54 * _RADIUS),
        "groups": [
            (
                perspective,
                [row for row in rows if any(each and each["value"] is not None for each in row["results"])],
            )
            for perspective, rows in _groups(explanations)
        ],
        "unanswered": [
            row
            for _, rows in _groups(explanations)
            for row in rows
            if not any(each and each["value"] is not None for each in row["results"])
        ],
        "number": number,
        "shown_value": shown_value,
        "shown_interval": shown_interval,
        "shown_better": _better,
        "dominance": dominance,
        "controls": _controls,
    }


def radar(explanations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Spokes, rings and one line an explanation, as coordinates and path data (numbers and fixed words only)."""
    corners = [
        (math.sin(2 * math.pi * i / len(RADAR)), -math.cos(2 * math.pi * i / len(RADAR)))
        for i in range(len(RADAR))
    ]

    def at(i: int, share: float) -> tuple[float, float]:
        x, y = corners[i]
        return round(_SIZE / 2 + share * _RADIUS * x, 2), round(_SIZE / 2 + share * _RADIUS * y, 2)

    spokes = []
    for i, (_, label) in enumerate(RADAR):
        x, y = at(i, 1.13)
        side = "middle" if abs(corners[i][0]) < 0.2 else "start" if corners[i][0] > 0 else "end"
        spokes.append({"label": label, "end": at(i, 1.0), "text": (x, y), "anchor": side})
    rings = [
        " ".join(f"{x},{y}" for x, y in (at(i, share) for i in range(len(RADAR))))
        for share in (0.25, 0.5, 0.75, 1.0)
    ]
    lines = []
    for each in explanations:
        values = {result["name"]: result["value"] for result in each["results"]}
        points = [
            (i, at(i, min(max(values[name], 0.0), 1.0)))
            for i, (name, _) in enumerate(RADAR)
            if values.get(name) is not None
        ]
        lines.append({"path": _path(points), "points": [point for _, point in points]})
    return {"spokes": spokes, "rings": rings, "lines": lines}


def _path(points: Sequence[tuple[int, tuple[float, float]]]) -> str:
    """Straight lines between neighbouring spokes; where a spoke has no value, the line breaks."""
    at = dict(points)
    parts = []
    for i, point in at.items():
        after = (i + 1) % len(RADAR)
        if after in at:
            parts.append(f"M{point[0]} {point[1]}L{at[after][0]} {at[after][1]}")
    return "".join(parts)


def _groups(explanations: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Perspective -> its virtues, each with the result of every explanation."""
    by_name = [{result["name"]: result for result in each["results"]} for each in explanations]
    found: dict[str, list[dict[str, Any]]] = {}
    for result in explanations[0]["results"]:
        row = {"virtue": result, "results": [each.get(result["name"]) for each in by_name]}
        found.setdefault(result["perspective"], []).append(row)
    return list(found.items())


def number(value: float | None) -> str:
    """A value with three decimals, or none where it is large or whole and above 1; a dash where there is none."""
    if value is None:
        return "–"
    whole = abs(value) >= 100 or (value == round(value) and abs(value) > 1)
    return fixed(value, 0 if whole else 3)


def shown_value(result: Mapping[str, Any], value: float | None) -> str:
    """A value of a result's virtue, or its floor or ceiling: counts as whole numbers."""
    return fixed(value, 0) if value is not None and result["unit"] == "count" else number(value)


def shown_interval(result: Mapping[str, Any]) -> str:
    """The interval of a result, "exact" where nothing was sampled, and nothing where there is none."""
    interval = result["interval"]
    if interval is None:
        return ""
    if interval["method"] == "exact":
        return "exact"
    if interval["low"] is None or interval["high"] is None:
        return "spread unknown"
    return f"{number(interval['low'])} to {number(interval['high'])}"


def dominance(comparison: Mapping[str, Any]) -> str:
    """Which of two dominates, or who takes no part, in a sentence."""
    if comparison["dominates"]:
        return f"{comparison['dominates']} dominates."
    if comparison["barred"]:
        return f"No dominance: {' and '.join(comparison['barred'])} did not pass the gate."
    return "Neither dominates."


def _better(comparison: Mapping[str, Any], groups: Mapping[str, str], sign: int) -> str:
    """In which groups of virtues the first (1) or the second (-1) is better, with the virtues' names."""
    found: dict[str, list[str]] = {}
    for each in comparison["differences"]:
        if each["better"] == sign:
            found.setdefault(groups[each["name"]], []).append(each["name"])
    return ", ".join(f"{group} ({', '.join(names)})" for group, names in sorted(found.items())) or "nothing"


def _groups_of(explanations: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {result["name"]: result["group"] for result in explanations[0]["results"]}


def _controls(result: Mapping[str, Any]) -> str:
    controls = result["details"].get("controls") or []
    return "; ".join(
        f"{each['name']} {number(each['value'])}" for each in controls if each["value"] is not None
    )


def scorecard_markdown(card: Mapping[str, Any]) -> str:
    """The card as Markdown: conditions, one table of virtues with a column for each explanation, comparisons."""
    explanations = card["explanations"]
    phenomenon = card["phenomenon"]
    lines = [
        f"# {_cell(explanations[0]['name'])}",
        "",
        f"Phenomenon: {_cell(phenomenon['name'])}. Model: {_cell(phenomenon['model'])} "
        f"(`{phenomenon['model_fingerprint'][:12]}`). {phenomenon['test_inputs']:,} test inputs, "
        f"{phenomenon['fit_inputs']:,} for fitting; {'the whole domain' if phenomenon['exhaustive'] else 'a sample'}. "
        f"The null predicts: {_cell(phenomenon['null'])}.",
        "",
        "A profile, not a total. Each value stands beside its interval and its floor, what a null, shuffled or random "
        "explanation gets. ✗: not told apart from its controls. n/a: the question does not arise. ?: it could not be "
        "answered.",
        "",
        "| | " + " | ".join(_cell(each["name"]) for each in explanations) + " |",
        "|---|" + "---|" * len(explanations),
        "| *verdict* | " + " | ".join(_cell(each["verdict"]) for each in explanations) + " |",
    ]
    for conditions in zip(*(each["conditions"] for each in explanations), strict=True):
        marks = [{True: "yes", False: "no", None: "?"}[each["met"]] for each in conditions]
        lines.append(f"| *{conditions[0]['name']}* | " + " | ".join(marks) + " |")
    lines[6:6] = [
        *(f"- **{_cell(each['name'])}.** {' '.join(map(_cell, each['summary']))}" for each in explanations),
        "",
    ]
    for perspective, rows in _groups(explanations):
        valued = [
            row
            for row in rows
            if any(result is not None and result["value"] is not None for result in row["results"])
        ]
        if valued:
            lines.append(f"| **{perspective}** |" + " |" * len(explanations))
        for row in valued:
            cells = " | ".join(_markdown_value(result) for result in row["results"])
            lines.append(f"| {row['virtue']['name']} ({row['virtue']['unit']}) | {cells} |")
    lines += ["", *_markdown_missing(explanations)]
    kinds = _groups_of(explanations)
    for each in card["comparisons"]:
        first, second = _cell(each["first"]), _cell(each["second"])
        lines.append(
            f"- {first} is better in {_better(each, kinds, 1)}; {second} in {_better(each, kinds, -1)}. "
            + _cell(dominance(each))
            + (f" {_cell(each['first_distinction'])}" if each["first_distinction"] else "")
        )
    lines += ["", f"Settings `{card['settings_fingerprint'][:12]}`, seed {card['settings']['seed']}."]
    return "\n".join(lines) + "\n"


def _markdown_value(result: Mapping[str, Any] | None) -> str:
    if result is None or result["value"] is None:
        return "?" if result is not None and result["status"] == "not evaluable" else "n/a"
    interval = shown_interval(result)
    text = shown_value(result, result["value"])
    if interval and interval != "exact":
        text += f" [{interval}]"
    if result["floor"] is not None:
        text += f", floor {shown_value(result, result['floor'])}"
    return text + (" ✗" if result["discriminating"] is False else "")


def _markdown_missing(explanations: Sequence[Mapping[str, Any]]) -> list[str]:
    """What could not be answered, folded: one line a reason, for all explanations that it is true of."""
    found = missing(explanations)
    if not found:
        return []
    lines = ["What could not be answered, and what it takes:", ""]
    for each in found:
        who = "all" if len(each["who"]) == len(explanations) else ", ".join(map(_cell, each["who"]))
        lines.append(f"- {', '.join(each['virtues'])} ({who}): {_cell(each['reason'])}")
    return [*lines, ""]


def missing(explanations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each reason why something is not evaluable, with the virtues and the explanations that it concerns."""
    reasons: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for each in explanations:
        own: dict[str, list[str]] = {}
        for result in each["results"]:
            if result["status"] == "not evaluable":
                own.setdefault(result["reason"], []).append(result["name"])
        for reason, names in own.items():
            reasons.setdefault((reason, tuple(names)), []).append(each["name"])
    return [
        {"reason": reason, "virtues": list(names), "who": who} for (reason, names), who in reasons.items()
    ]


def _cell(text: str) -> str:
    """Text that stays inside its cell and means nothing to Markdown or HTML."""
    return visible(cut(text, 300)).replace("\n", " ").translate(_MARKS)
