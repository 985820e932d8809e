"""One document: a title, where its numbers come from, and sections in order. Every page is rendered from one.

All of it is plain data, which `aitia.report.stored` writes as JSON and reads again. A new kind of part is a class here,
entered in `Part`, and a template of the same name in `templates/parts`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from aitia.errors import AitiaError
from aitia.report.figures import AgreementFigure, BarFigure, CurveFigure, PlotlyFigure

_KEY = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class Span:
    """A stretch of text that looks different from what is around it.

    Attributes:
        text: what it says.
        look: a name whose direction of writing is its own; stressed; stressed, in the colour of what raises or lowers
            the concept; highlighted; or a tag.
        key: id of its element; empty for none.
    """

    text: str
    look: Literal["name", "strong", "raises", "lowers", "mark", "tag"] = "strong"
    key: str = ""


Text = str | Span | Sequence[str | Span]
"""Plain text, or stretches of it one after the other."""


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """Prose. A note is small, a warning stands out."""

    text: Text
    look: Literal["plain", "note", "warning"] = "plain"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A list of short texts."""

    items: Sequence[Text]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Labels and values: of a few words each, or of numbers, which stand closer together."""

    facts: Sequence[tuple[str, str]]
    numbers: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text and numbers; numbers get `decimals` decimals, None a dash.

    Attributes:
        title: what is listed; empty where the section's title says so.
        header: names of the columns; empty for a table without.
        rows: of as many cells each. The first cell names its row.
        note: plain text under the table.
        decimals: of the numbers.
        prose: columns after the first that hold text, which is set from the left.
        stressed: numbers of the rows that stand out, from 0.
    """

    title: str = ""
    header: Sequence[str]
    rows: Sequence[Sequence[Text | float | None]]
    note: str = ""
    decimals: int = 3
    prose: Sequence[int] = ()
    stressed: Sequence[int] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if self.header and len(row) != len(self.header):
                raise AitiaError(
                    f"table {self.title!r}: a row has {len(row)} cells, the header {len(self.header)}"
                )


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parts on one sheet.

    Attributes:
        parts: in order.
        title: above them; empty for none.
        folds: whether a reader can fold them away; they need a title then.
        opened: whether they are unfolded at first.
    """

    parts: Sequence[Part]
    title: Text = ""
    folds: bool = False
    opened: bool = False


@dataclass(frozen=True, kw_only=True)
class Token:
    """One token of a shown row.

    Attributes:
        text: the token as text.
        share: signed share of this token in the row's score, in the score's unit; 0 for prompt tokens.
        response: whether the model was trained to produce the token.
    """

    text: str
    share: float
    response: bool


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """One training row that is shown in full.

    Attributes:
        id: the row's id.
        row: its number in the data.
        location: where it stands, such as a file and line.
        rank: 1 for the most influential row.
        score: the primary method's score.
        prompt: plain text, shown where `tokens` is empty.
        completion: plain text, shown where `tokens` is empty.
        tokens: the row's tokens in order, prompt and response.
        extra: the row's other columns, shown small.
    """

    id: str
    row: int
    location: str
    rank: int
    score: float
    prompt: str
    completion: str
    tokens: Sequence[Token] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of training text, each token in the colour of its share.

    Attributes:
        rows: in order.
        key: id that the elements of long passages begin with.
        scale: |share| that gets the strongest colour; 0 leaves everything without colour.
        largest: |score| whose bar is longest.
        mean: of all scores.
        deviation: standard deviation of all scores.
        labelled: numbers of the labelled rows among them.
        label: what is true of the labelled rows.
    """

    rows: Sequence[ReportRow]
    key: str
    scale: float
    largest: float
    mean: float
    deviation: float
    labelled: Sequence[int] = ()
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A scorecard, as `aitia.explanations.Scorecard.as_json` gives it."""

    card: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TargetResult:
    """A goal set beforehand, what was measured, and whether it was met."""

    name: str
    target: str
    value: str
    met: bool


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What was aimed at, beside what was measured."""

    targets: Sequence[TargetResult]


Part = (
    Paragraph
    | Listing
    | Facts
    | Table
    | Group
    | Rows
    | Card
    | Targets
    | CurveFigure
    | BarFigure
    | AgreementFigure
    | PlotlyFigure
)
"""What a section can hold."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page: a heading, plain sentences, and what is shown under them.

    Attributes:
        title: the heading.
        text: plain sentences under it; empty for none.
        parts: in order.
        key: id of the section, which links lead to; empty for one by its place among those without.
        short: its name in the contents; empty for the title.
    """

    title: str
    text: Text = ""
    parts: Sequence[Part] = ()
    key: str = ""
    short: str = ""

    def __post_init__(self) -> None:
        if self.key and not _KEY.fullmatch(self.key):
            raise AitiaError(
                f"section {self.title!r:.80}: key {self.key!r:.80} is not of letters, digits and -"
            )


@dataclass(frozen=True, kw_only=True)
class Document:
    """Everything on a page.

    Attributes:
        title: the page's title.
        question: the question, or the answer, in one sentence.
        facts: label and value: where the numbers come from: model, data, seeds and so on.
        sections: in order.
        warnings: plain sentences, shown on top.
        reproduce: configuration or commands that make the results again, shown last.
    """

    title: str
    question: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    warnings: Sequence[str] = ()
    reproduce: str = ""

    def __post_init__(self) -> None:
        keys = [each.key for each in self.sections if each.key]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise AitiaError(f"document {self.title!r:.80}: two sections have the key {min(twice)!r}")

    def with_section(self, section: Section) -> Document:
        """The document with a section in the place of the one with the same key, or else as the last.

        Returns:
            A further document.

        Raises:
            AitiaError: the section has no key.
        """
        if not section.key:
            raise AitiaError(f"section {section.title!r:.80} needs a key to be found again")
        if all(each.key != section.key for each in self.sections):
            return replace(self, sections=(*self.sections, section))
        sections = (section if each.key == section.key else each for each in self.sections)
        return replace(self, sections=tuple(sections))
