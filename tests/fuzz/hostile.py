"""Hostile files: good ones, broken by hypothesis in their bytes, their JSON, or the header of their tensors."""

from __future__ import annotations

import json
import struct
from typing import Any

from hypothesis import strategies as st

HUGE = 10**30
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([HUGE, -HUGE, 2**63, -(2**63) - 1, 2**31, 0, -1, 1]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            "../../../etc/passwd",
            "/etc/passwd",
            "file:///etc/passwd",
            "<script>alert(1)</script>",
            "\u202e\u2066gnp.exe",
            "\ud800",
            "\x00",
            "a" * 5000,
            "__import__('os').system('id')",
            "{{7*7}}",
            "NaN",
            "1e999",
            "auto",
        ]
    ),
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
YAML_TRICKS = [
    b"!!python/object/apply:os.system ['id']\n",
    b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c, *c]\n",
    b"{a: b: c}",
    b"- " * 3000,
    b"[" * 3000,
    b"? [a]\n: b\n",
    b"2024-01-01: 1\n",
    b"data: !!binary aGk=\n",
    b"%YAML 9.9\n---\n{}\n",
]


@st.composite
def broken_bytes(draw: st.DrawFn, seed: bytes) -> bytes:
    """The seed with a few bytes turned, cut out, doubled, put in, or its end cut off."""
    content = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.integers(0, 5)):
            case 0 if content:
                content[place] = draw(st.integers(0, 255))
            case 1 if content:
                content[place] ^= 1 << draw(st.integers(0, 7))
            case 2:
                del content[place : place + draw(st.integers(1, 64))]
            case 3:
                content[place:place] = draw(st.binary(max_size=16))
            case 4:
                content[place:place] = content[place : place + 32]
            case _:
                del content[place:]
    return bytes(content)


@st.composite
def broken_json(draw: st.DrawFn, value: Any) -> Any:
    """The value with one or two of its parts, at any depth, replaced, taken out, or put beside others."""
    found = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 2))):
        found = _break(draw, found)
    return found


def _break(draw: st.DrawFn, value: Any) -> Any:
    deeper = isinstance(value, dict | list) and value and draw(st.integers(0, 4))
    if not deeper:
        return draw(VALUES)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = draw(st.sampled_from(keys))
    match draw(st.integers(0, 7)):
        case 0:
            del value[key]
        case 1 if isinstance(value, dict):
            value[draw(st.text(max_size=8))] = draw(VALUES)
        case 1:
            value.insert(key, draw(VALUES))
        case 2 if isinstance(value, list):
            value.append(value[key])
        case _:
            value[key] = _break(draw, value[key])
    return value


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


@st.composite
def broken_lines(draw: st.DrawFn, seed: bytes) -> bytes:
    """Lines of JSON, some of them broken."""
    lines = seed.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        try:
            row = json.loads(lines[place])
        except ValueError:
            row = {}
        if draw(st.booleans()):
            lines[place] = _dump(draw(broken_json(row)))
        else:
            lines[place] = draw(broken_bytes(lines[place]))
    return draw(st.sampled_from([b"\n", b"\r\n", b"\n\n"])).join(lines)


@st.composite
def broken_tensors(draw: st.DrawFn, seed: bytes) -> bytes:
    """A safetensors file whose header says something else: shapes, types, places, names, strings beside."""
    size = struct.unpack("<Q", seed[:8])[0]
    header = json.loads(seed[8 : 8 + size])
    strings = header.get("__metadata__", {})
    if strings and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(strings)))
        try:
            inner = json.loads(strings[key])
            strings[key] = json.dumps(draw(broken_json(inner)))
        except ValueError:
            strings[key] = draw(st.text(max_size=30))
        if draw(st.booleans()):
            strings.pop("checksums", None)
    else:
        header = draw(broken_json(header))
        if draw(st.booleans()) and isinstance(header, dict) and isinstance(header.get("__metadata__"), dict):
            header["__metadata__"].pop("checksums", None)
    text = _dump(header)
    said = draw(st.sampled_from([len(text), len(text), len(text), 2**40, 2**63, 0, len(text) - 1]))
    return struct.pack("<Q", said) + text + seed[8 + size :]


def hostile(name: str, seed: bytes) -> st.SearchStrategy[bytes]:
    """Broken forms of a file, by the ending of its name."""
    choices = [broken_bytes(seed)]
    if name.endswith((".jsonl",)):
        choices += [broken_lines(seed)] * 3
    elif name.endswith((".json", ".yaml")):
        choices += [broken_json(json.loads(seed)).map(_dump)] * 3
    elif name.endswith(".safetensors"):
        choices += [broken_tensors(seed)] * 3
    if name.endswith(".yaml"):
        choices += [
            st.sampled_from(YAML_TRICKS),
            st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
        ]
    return st.one_of(choices)
