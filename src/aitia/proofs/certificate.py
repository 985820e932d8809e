"""`*.certificate.json`: a claim about one network, and the explanation that makes it cheap to check.

A certificate holds integers, names and nothing else: no float is ever parsed, nothing is executed. Real numbers are
integers times a power of two. Nothing in it is believed: the checker computes every bound from the network, so a
wrong explanation can only weaken what is found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aitia.errors import ProofError, reason_of
from aitia.files import reading

FORMAT = "aitia-certificate-v1"
SUFFIX = ".certificate.json"
MAX_BYTES = 32_000_000
MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class AccuracyCertificate:
    """The claim that a network is right on at least `certified` of all n^2 inputs, and how to check it.

    Attributes:
        network: sha256 of the network's arrays.
        group: what the group is called, for people; nothing depends on it.
        order: the number of its elements, n.
        width: the number of neurons, m.
        verifier: the name of the verifier that checks it.
        certified: how many inputs are claimed to be right.
        cost: how many operations checking is claimed to take, at most.
        explanation: what the verifier needs: integers, lists and names.

    Raises:
        ProofError: when one is made whose claim makes no sense.
    """

    network: str
    group: str
    order: int
    width: int
    verifier: str
    certified: int
    cost: int
    explanation: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A certificate made in memory is believed as little as one that was read: NaN compares with nothing.
        stated = vars(self)
        if re.fullmatch("[0-9a-f]{64}", text_of(stated, "network")) is None:
            raise ProofError("names its network by what is no sha256: 64 digits from 0 to 9 and a to f")
        text_of(stated, "group")
        text_of(stated, "verifier")
        integer_of(stated, "order", low=1, high=10**6)
        integer_of(stated, "width", low=1, high=10**9)
        integer_of(stated, "certified", low=0, high=10**12)
        integer_of(stated, "cost", low=0, high=MAX_INTEGER)
        if not isinstance(self.explanation, Mapping):
            raise ProofError("'explanation' must be an object")
        if self.certified > self.inputs:
            raise ProofError(f"claims {self.certified} certified inputs of {self.inputs}")

    @property
    def inputs(self) -> int:
        """The number of inputs, n^2."""
        return self.order**2

    @property
    def bound(self) -> float:
        """The accuracy that is claimed at least, from 0 to 1."""
        return self.certified / self.inputs

    def plain(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "format": FORMAT,
            "network": {
                "sha256": self.network,
                "group": self.group,
                "order": self.order,
                "neurons": self.width,
            },
            "claim": {"certified": self.certified, "inputs": self.inputs, "cost": self.cost},
            "verifier": self.verifier,
            "explanation": dict(self.explanation),
        }

    def save(self, path: Path | str) -> Path:
        """Write it, whole or not at all."""
        from aitia.files import write_text

        return write_text(path, json.dumps(self.plain(), separators=(",", ":"), sort_keys=True) + "\n")


def load_certificate(path: Path | str) -> AccuracyCertificate:
    """Read a certificate file.

    Returns:
        The certificate; nothing in it is verified yet.

    Raises:
        ProofError: it is missing, too large, or not a certificate; the message says where.
    """
    try:
        with reading(path), Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ProofError(f"more than {MAX_BYTES:,} bytes")
        return parse_certificate(content.decode("utf-8"))
    except FileNotFoundError:
        raise ProofError(f"{path}: no such certificate; make one with `aitia prove`") from None
    except ProofError as error:
        raise ProofError(f"{path}: {error}") from error
    except ValueError as error:
        raise ProofError(f"{path}: not a certificate: {reason_of(error)}") from error


def parse_certificate(text: str) -> AccuracyCertificate:
    """A certificate from its text.

    Returns:
        The certificate; nothing in it is verified yet.

    Raises:
        ProofError: it is no certificate; the message says where.
    """
    try:
        value = json.loads(
            text,
            parse_float=_no_float,
            parse_constant=_no_float,
            parse_int=_integer,
            object_pairs_hook=_unique,
        )
    except ProofError:
        raise
    except (ValueError, RecursionError) as error:
        raise ProofError(f"not JSON: {error}") from error
    _require_shallow(value, MAX_DEPTH)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ProofError(f"not a certificate: its format is not {FORMAT!r}")
    network, claim = _object(value, "network"), _object(value, "claim")
    found = AccuracyCertificate(
        network=text_of(network, "sha256"),
        group=text_of(network, "group"),
        order=integer_of(network, "order", low=1, high=10**6),
        width=integer_of(network, "neurons", low=1, high=10**9),
        verifier=text_of(value, "verifier"),
        certified=integer_of(claim, "certified", low=0, high=10**12),
        cost=integer_of(claim, "cost", low=0, high=MAX_INTEGER),
        explanation=_object(value, "explanation"),
    )
    if integer_of(claim, "inputs", low=1, high=10**12) != found.inputs:
        raise ProofError(
            f"claims {claim['inputs']} inputs; a group of order {found.order} has {found.inputs}"
        )
    return found


def integer_of(where: Mapping[str, Any], key: str, *, low: int, high: int) -> int:
    """An integer entry within a range.

    Returns:
        The integer.

    Raises:
        ProofError: it is missing, no integer, or outside.
    """
    value = where.get(key)
    if type(value) is not int or not low <= value <= high:
        raise ProofError(f"{key!r} must be an integer from {low} to {high}, not {_shown(value)}")
    return value


def text_of(where: Mapping[str, Any], key: str) -> str:
    """A text entry, short and without what would upset a terminal.

    Returns:
        The text.

    Raises:
        ProofError: it is missing or no such text.
    """
    value = where.get(key)
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise ProofError(f"{key!r} must be a short printable text, not {_shown(value)}")
    return value


def list_of(where: Mapping[str, Any], key: str, *, longest: int) -> list[Any]:
    """A list entry.

    Returns:
        The list.

    Raises:
        ProofError: it is missing, no list, or too long.
    """
    value = where.get(key)
    if not isinstance(value, list) or len(value) > longest:
        raise ProofError(f"{key!r} must be a list of at most {longest} items")
    return value


def integers_of(value: Any, what: str, *, low: int, high: int, length: int | None = None) -> np.ndarray:
    """[k] int64 from a list of integers within a range.

    Returns:
        [k] int64.

    Raises:
        ProofError: it is no such list.
    """
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise ProofError(f"{what} must be a list{'' if length is None else f' of {length} integers'}")
    for place, each in enumerate(value):
        if type(each) is not int or not low <= each <= high:
            raise ProofError(f"{what}, place {place}: {_shown(each)} is no integer from {low} to {high}")
    return np.array(value, dtype=np.int64)


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.40}"
    except ValueError:
        return "an integer too long to print"


def _object(where: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = where.get(key)
    if not isinstance(value, dict):
        raise ProofError(f"{key!r} must be an object")
    return value


def _no_float(text: str) -> Any:
    raise ProofError(f"holds the number {text[:40]}; certificates hold integers alone")


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise ProofError(f"holds the integer {text[:40]}; they must be below 2^53")
    return int(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ProofError("names an entry twice")
    return found


def _require_shallow(value: Any, depth: int) -> None:
    if depth == 0:
        raise ProofError(f"is nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            if isinstance(each, dict | list):
                _require_shallow(each, depth - 1)
