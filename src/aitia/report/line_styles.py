"""How lines and bars are told apart: by colour for most, by dash, marker and hatch in black and white.

The colours are those of Okabe & Ito (2008), chosen to differ under every common kind of colour blindness; their
yellow is left out because it vanishes on white.
"""

from __future__ import annotations

from typing import NamedTuple

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
GREYS = ("#5c6470", "#8b929c")
MARKERS = (("o", "circle"), ("s", "square"), ("D", "diamond"), ("^", "triangle-up"), ("v", "triangle-down"))
DASHES = (("-", "solid"), ((0, (6, 2)), "dash"), ((0, (6, 2, 1.5, 2)), "dashdot"), ((0, (1.5, 1.5)), "dot"))


class LineStyle(NamedTuple):
    """One line's look; markers and dashes as (matplotlib's name, plotly's name)."""

    colour: str
    marker: tuple[str, str]
    dash: tuple[object, str]


def line_styles(baselines: list[bool]) -> list[LineStyle]:
    """A style for each line; those of baselines are grey. Sixty of either kind come before one is used again."""
    styles, used = [], {True: 0, False: 0}
    for baseline in baselines:
        number = used[baseline]
        used[baseline] += 1
        colours = GREYS if baseline else COLOURS
        # A grey line never is solid: that is kept for what is being measured.
        dashes = DASHES[1:] if baseline else DASHES
        styles.append(
            LineStyle(
                colours[number % len(colours)],
                MARKERS[number % len(MARKERS)],
                dashes[(number // (1 if baseline else 2)) % len(dashes)],
            )
        )
    return styles
