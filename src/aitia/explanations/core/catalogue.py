"""Every virtue that a scorecard can hold: what it is called, its unit, range and direction, and where it is from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

UP, DOWN, ZERO, NONE = "up", "down", "zero", "none"


@dataclass(frozen=True, kw_only=True)
class Virtue:
    """One virtue.

    Attributes:
        name: its key in the scorecard.
        perspective: Bayesian, Kuhnian, Deutschian, nomological, compact proof or faithfulness.
        group: virtues of one group measure nearly the same; they are counted once.
        unit: such as bits per observation.
        low: smallest possible value.
        high: largest possible value.
        direction: which way is better: up, down, zero, or none where it depends on another virtue.
        formula: in one line.
        source: where it comes from; "our reading" where a formula is reconstructed, "ours" where we made it.
    """

    name: str
    perspective: str
    group: str
    unit: str
    low: float
    high: float
    direction: str
    formula: str
    source: str


_INF = math.inf
_WD = "Wojtowicz & DeDeo 2020, Ayonrinde & Jaburi 2025; our reading"
_AJ = "after Ayonrinde & Jaburi 2025; formula ours"
_CP = "Gross et al. 2024"

# name: (group, unit, low, high, direction, formula, source)
_TABLE: Mapping[str, Mapping[str, tuple[str, str, float, float, str, str, str]]] = {
    "faithfulness": {
        "fidelity": (
            "behaviour",
            "share",
            0,
            1,
            UP,
            "share of inputs with the model's answer",
            "standard",
        ),
        "probing-agreement": (
            "mechanism",
            "chance-corrected",
            -_INF,
            1,
            UP,
            "1 - E d(read(x), state(x)) / E d(read(x), state(x'))",
            _AJ,
        ),
        "interchange-intervention-accuracy": (
            "mechanism",
            "share",
            0,
            1,
            UP,
            "share of interchange interventions after which model and explanation answer alike",
            "Geiger et al. 2021; Ayonrinde & Jaburi 2025; our reading",
        ),
        "informativeness": (
            "mechanism",
            "bits",
            0,
            _INF,
            UP,
            "sum over places of mean log2 P(answer after a swap) / trivial P, at best reliance",
            "ours; interchange after Geiger et al. 2021",
        ),
        "state-distinctions": (
            "mechanism",
            "share",
            0,
            1,
            UP,
            "share of pairs of values that interventions show or a decoder finds",
            "control tasks after Hewitt & Liang 2019; scheme ours",
        ),
        "causal-by-writing": (
            "mechanism",
            "share",
            0,
            1,
            UP,
            "the same, with chosen values written into the site",
            "Méloux et al. 2026; our reading",
        ),
        "causal-by-direction": (
            "mechanism",
            "share",
            -_INF,
            _INF,
            UP,
            "1 - what training adds with the direction ablated / what it adds without",
            "ablation after Arditi et al. 2024; formula ours",
        ),
        "leakage": (
            "mechanism",
            "share",
            0,
            1,
            DOWN,
            "share of disturbances of inert sites that move the answer",
            "Méloux et al. 2026; our reading",
        ),
        "faithfulness-gap": (
            "gap",
            "share",
            -1,
            1,
            NONE,
            "fidelity - interchange-intervention accuracy",
            "ours",
        ),
    },
    "Bayesian": {
        "skill": ("fit", "share", -_INF, 1, UP, "1 - cross-entropy / null's cross-entropy", "ours"),
        "accuracy": ("fit", "bits per observation", -_INF, 0, UP, "log2 P(o_1..o_n) / n", _WD),
        "descriptiveness": ("fit", "bits per observation", -_INF, 0, UP, "sum_i log2 P(o_i) / n", _WD),
        "co-explanation": (
            "fit",
            "bits per observation",
            -_INF,
            _INF,
            UP,
            "log2 [P(o_1..o_n) / prod_i P(o_i)] / n",
            _WD,
        ),
        "coverage": ("scope", "share", 0, 1, UP, "share of inputs that it predicts anything for", "ours"),
        "precision": ("boldness", "bits per observation", -_INF, 0, NONE, "-H(O_1..O_n) / n", _WD),
        "power": ("boldness", "bits per observation", -_INF, 0, NONE, "-sum_i H(O_i) / n", _WD),
        "unification": (
            "boldness",
            "bits per observation",
            0,
            _INF,
            NONE,
            "[sum_i H(O_i) - H(O_1..O_n)] / n",
            _WD,
        ),
        "calibration-gap": ("fit", "bits per observation", -_INF, _INF, ZERO, "accuracy - precision", "ours"),
        "premise-reuse": (
            "unity",
            "share",
            0,
            1,
            UP,
            "sum of bits * (phenomena served - 1) / sum of bits * phenomena served",
            "ours",
        ),
        "prior": ("simplicity", "bits", -_INF, 0, NONE, "log2 prior, or minus the description length", _WD),
        "variables": ("simplicity", "count", 0, _INF, NONE, "variables posited", _WD),
        "edges": (
            "simplicity",
            "count",
            0,
            _INF,
            NONE,
            "variables that another one changes, pair by pair",
            _WD,
        ),
        "premises": ("simplicity", "count", 0, _INF, NONE, "premises", _WD),
        "free-parameters": ("simplicity", "count", 0, _INF, NONE, "premises of kind parameter", _WD),
        "description-length": (
            "simplicity",
            "bits",
            0,
            _INF,
            DOWN,
            "structure + code and data reached, or premises if longer + maps",
            "after MDL (Rissanen 1978; Ayonrinde et al. 2024); details ours",
        ),
        "compression": (
            "simplicity",
            "share",
            -_INF,
            1,
            UP,
            "1 - (description length - log2 P(o)) / null's bits",
            "after MDL (Rissanen 1978); details ours",
        ),
        "k-complexity-bound": (
            "simplicity",
            "bits",
            0,
            _INF,
            NONE,
            "shortest of program and prediction table over three compressors: an upper bound",
            "Ayonrinde & Jaburi 2025; bound ours",
        ),
    },
    "Kuhnian": {
        "inner-disagreement": (
            "consistency",
            "share",
            0,
            1,
            DOWN,
            "share of inputs on which two derivations differ",
            "Kuhn 1977; ours",
        ),
        "outer-disagreement": (
            "consistency",
            "bits",
            0,
            1,
            DOWN,
            "mean Jensen-Shannon divergence from accepted explanations",
            "Kuhn 1977; ours",
        ),
        "scope": (
            "scope",
            "share",
            0,
            1,
            UP,
            "mass of cases where it applies with positive skill",
            "Kuhn 1977; ours",
        ),
        "excess-scope": ("scope", "share", 0, 1, UP, "the same outside the domain", "Kuhn 1977; ours"),
        "model-scope": (
            "scope",
            "share",
            0,
            1,
            UP,
            "share of other models on which it has positive skill",
            "Kuhn 1977; ours",
        ),
        "fruitfulness": (
            "fruitfulness",
            "bits per prediction",
            -_INF,
            _INF,
            UP,
            "mean log2 P(o)/Q0(o) over registered predictions",
            "Kuhn 1977; ours",
        ),
    },
    "Deutschian": {
        "falsifiability": (
            "risk",
            "share",
            0,
            1,
            UP,
            "mass under the null of the outcomes that it forbids",
            "Popper 1959; Deutsch 2011; ours",
        ),
        "mutation-score": ("risk", "share", 0, 1, UP, "share of mutated models that refute it", "ours"),
        "hard-to-vary": (
            "hard to vary",
            "share",
            0,
            1,
            UP,
            "share of variants that lose skill or interchange-intervention accuracy",
            "Deutsch 2011; Elton 2020; ours",
        ),
        "load-bearing": (
            "hard to vary",
            "share",
            0,
            1,
            UP,
            "share of premises whose change makes predictions worse",
            "Deutsch 2011; ours",
        ),
        "hard-to-patch": (
            "hard to vary",
            "bits",
            0,
            _INF,
            UP,
            "bits that change when it is fitted to other data",
            "Elton 2020; ours",
        ),
    },
    "nomological": {
        "invariance": (
            "laws",
            "share",
            0,
            1,
            UP,
            "share of models on which the laws hold without fitting again",
            _AJ,
        ),
        "law-support": (
            "laws",
            "share",
            0,
            1,
            UP,
            "share of predictions that use a law which holds elsewhere",
            _AJ,
        ),
        "deductive-check": ("laws", "yes or no", 0, 1, UP, "whether the certificate verifies", _CP),
    },
    "compact proof": {
        "tightness": ("proof", "share", 0, 1, UP, "bound / true value", _CP),
        "cost-ratio": (
            "proof",
            "share of brute force",
            0,
            _INF,
            DOWN,
            "verifier cost / brute-force cost",
            _CP,
        ),
        "unexplained": ("proof", "count", 0, _INF, DOWN, "dimensions left as black boxes", _CP),
        "gain": (
            "proof",
            "share",
            -1,
            1,
            UP,
            "bound - min(cost ratio, true value)",
            "baseline of Gross et al. 2024; score ours",
        ),
        "depth": (
            "proof",
            "share",
            -_INF,
            1,
            UP,
            "(log c_brute - log c) / (log c_brute - log size)",
            "after an idea of J. Gross; formula ours",
        ),
    },
}

VIRTUES: Mapping[str, Virtue] = {
    name: Virtue(
        name=name,
        perspective=perspective,
        group=group,
        unit=unit,
        low=low,
        high=high,
        direction=direction,
        formula=formula,
        source=source,
    )
    for perspective, rows in _TABLE.items()
    for name, (group, unit, low, high, direction, formula, source) in rows.items()
}
"""Name -> the virtue or other score, in the order of the card."""
PERSPECTIVES = tuple(_TABLE)
