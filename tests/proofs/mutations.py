"""Mutated networks and certificates, and the truth about a network in integers. Nothing here uses the checker."""

import copy
import json
from dataclasses import dataclass, field

import numpy as np

TENSORS = ("left", "right", "unembed", "bias")
BITS = 1_080
"""Every float64 is an integer times 2^-1074."""

ODD = (
    0,
    1,
    -1,
    2,
    2**52,
    2**53 - 1,
    1 - 2**53,
    2**53,
    10**30,
    True,
    None,
    0.5,
    float("nan"),
    "1",
    [],
    {},
    [[]],
)


def arrays_of(network):
    """The five arrays of a network."""
    return {name: getattr(network, name).copy() for name in TENSORS} | {"cayley": network.group.table.copy()}


def right_inputs(arrays):
    """[n, n] whether the right logit is strictly the largest, in Python's integers, input by input."""

    def whole(values):
        if np.ndim(values):
            return [whole(each) for each in values]
        top, bottom = float(values).as_integer_ratio()
        return top << BITS - bottom.bit_length() + 1

    left, right, columns = whole(arrays["left"]), whole(arrays["right"]), whole(arrays["unembed"].T)
    bias = [value << BITS for value in whole(arrays["bias"])]
    found = np.zeros(arrays["cayley"].shape, dtype=bool)
    for x, y in np.ndindex(*found.shape):
        hidden = [(i, a + b) for i, (a, b) in enumerate(zip(left[x], right[y], strict=True)) if a + b > 0]
        logits = [sum(h * u[i] for i, h in hidden) + b for u, b in zip(columns, bias, strict=True)]
        own = logits.pop(int(arrays["cayley"][x, y]))
        found[x, y] = all(own > other for other in logits)
    return found


@dataclass(kw_only=True)
class Case:
    """A network to attack, and a certificate of it for each verifier, as plain objects."""

    name: str
    arrays: dict
    certificates: dict[str, dict] = field(default_factory=dict)


# Networks: what still is one, and what is none.


def noised(arrays, random):
    size = 10.0 ** random.uniform(-16, 0)
    generator = np.random.default_rng(random.randrange(2**32))
    return arrays | {k: arrays[k] + size * generator.standard_normal(arrays[k].shape) for k in TENSORS}


def with_odd_entries(arrays, random):
    changed = {k: v.copy() for k, v in arrays.items()}
    for _ in range(random.choice((1, 1, 3))):
        array = changed[random.choice(TENSORS)]
        odd = (np.nan, np.inf, -np.inf, 1e308, 2.0**100, -(2.0**100), 2.0**101, 5e-324, 2.0**-540, 0.0)
        array.ravel()[random.randrange(array.size)] = random.choice(odd)
    return changed


def scaled(arrays, random):
    hidden, out = random.randint(-1_000, 90), random.randint(-1_000, 90)
    powers = {"left": hidden, "right": hidden, "unembed": out, "bias": hidden + out}
    return arrays | {k: np.ldexp(arrays[k], power) for k, power in powers.items()}


def with_tiny_and_huge_neurons(arrays, random):
    changed = {k: v.copy() for k, v in arrays.items()}
    for i in random.sample(range(len(arrays["unembed"])), random.randint(1, 3)):
        lift = random.choice((100, 60, -60, -500, -540, -1_000))
        sink = random.choice((-lift, -lift - 20, -540, -600, 60))
        for name in ("left", "right"):
            changed[name][:, i] = np.ldexp(changed[name][:, i], lift)
        changed["unembed"][i] = np.ldexp(changed["unembed"][i], sink)
    return changed


def nearly_tied(arrays, random):
    """A wrong logit of one input is brought level with the right one, up to a few units in the last place."""
    changed = {k: v.copy() for k, v in arrays.items()}
    n = len(arrays["cayley"])
    x, y = random.randrange(n), random.randrange(n)
    logits = np.maximum(arrays["left"][x] + arrays["right"][y], 0) @ arrays["unembed"] + arrays["bias"]
    own = int(arrays["cayley"][x, y])
    z = random.choice([z for z in range(n) if z != own])
    value = changed["bias"][z] + logits[own] - logits[z]
    for _ in range(random.randint(0, 3)):
        value = np.nextafter(value, random.choice((-np.inf, np.inf)))
    changed["bias"][z] = value
    return changed


def with_tied_answers(arrays, random):
    """Two answers with one and the same logit, or one unit in the last place apart in a weight."""
    changed = {k: v.copy() for k, v in arrays.items()}
    first, second = random.sample(range(len(arrays["bias"])), 2)
    changed["unembed"][:, second] = changed["unembed"][:, first]
    changed["bias"][second] = changed["bias"][first]
    if random.random() < 0.7:
        i = random.randrange(len(changed["unembed"]))
        value = changed["unembed"][i, second]
        changed["unembed"][i, second] = np.nextafter(value, random.choice((-np.inf, np.inf)))
    return changed


def in_float32(arrays, random):
    return arrays | {k: arrays[k].astype(np.float32) for k in TENSORS}


def biased(arrays, random):
    bias = arrays["bias"].copy()
    bias[random.randrange(len(bias))] += 10.0 ** random.uniform(0, 5)
    return arrays | {"bias": bias}


def with_copied_neurons(arrays, random):
    changed = {k: v.copy() for k, v in arrays.items()}
    first, second = random.sample(range(len(arrays["unembed"])), 2)
    for name in ("left", "right"):
        changed[name][:, second] = changed[name][:, first]
    changed["unembed"][second] = random.choice((1, -1)) * changed["unembed"][first]
    return changed


def emptied(arrays, random):
    names = random.sample(TENSORS, random.randint(1, 4))
    return arrays | {k: np.full_like(arrays[k], random.choice((0.0, 0.0, 1.0, -1.0))) for k in names}


def relabelled(arrays, random):
    """The same group with its elements called otherwise: a group still, but not this network's."""
    n = len(arrays["cayley"])
    names = np.array(random.sample(range(n), n))
    table = np.empty_like(arrays["cayley"])
    table[names[:, None], names] = names[arrays["cayley"]]
    return arrays | {"cayley": table}


def with_another_table(arrays, random):
    table = arrays["cayley"].copy()
    n = len(table)
    rows = random.sample(range(n), 2)
    kind = random.randrange(8)
    if kind == 0:
        table[rows] = table[rows[::-1]]
    elif kind == 1:
        table[:, rows] = table[:, rows[::-1]]
    elif kind == 2:
        table[rows[0], rows[1]] = random.choice((-1, n, 2**40, table[0, 0]))
    elif kind == 3:
        table = table.T.copy()
    elif kind == 4:
        table = np.zeros_like(table)
    elif kind == 5:
        table = table.astype(
            random.choice((np.float64, np.uint8, np.int8, np.bool_, np.uint64, np.complex128))
        )
    elif kind == 6:
        table = (np.arange(n)[:, None] + np.arange(n)) % n
    else:
        table = table[:-1] if random.random() < 0.5 else table[:-1, :-1]
    return arrays | {"cayley": table}


def misshapen(arrays, random):
    name = random.choice(tuple(arrays))
    array = arrays[name]
    changed = random.choice(
        (
            array.T if array.ndim == 2 else array[:, None],
            array[:-1],
            array[:0],
            array[None],
            array[..., :0],
            np.concatenate([array, array]),
            np.array(1.0),
        )
    )
    return arrays | {name: changed}


def of_another_type(arrays, random):
    name = random.choice(TENSORS)
    kind = random.choice(
        (np.float16, np.int32, np.complex128, np.dtype(">f8"), np.object_, np.bool_, np.str_)
    )
    return arrays | {name: arrays[name].astype(kind)}


NETWORKS = (
    noised,
    nearly_tied,
    with_tied_answers,
    scaled,
    with_tiny_and_huge_neurons,
    biased,
    in_float32,
    with_copied_neurons,
    emptied,
    relabelled,
    with_another_table,
    with_odd_entries,
    misshapen,
    of_another_type,
)


# Certificates: as plain objects, and as text.


def mutated_certificate(plain, others, random):
    """The text of a certificate in which something was changed."""
    plain = json.loads(json.dumps(plain))
    if random.random() < 0.2:
        _rescale(plain.get("explanation", {}), random.randint(-150, 100))
    for _ in range(random.choice((0, 1, 1, 2, 4))):
        _change(plain, others, random)
    return mutated_text(json.dumps(plain), random) if random.random() < 0.1 else json.dumps(plain)


def mutated_text(text, random):
    place = random.randrange(len(text))
    return random.choice(
        (
            text[:place],
            text[:place] + random.choice('[]{},:"0-9eE.') + text[place + 1 :],
            text[:place] + random.choice(("NaN", "Infinity", "1e9", "[" * 2_000, "9" * 5_000)) + text[place:],
            text.replace('"claim"', '"claim": {}, "claim"'),
            text + text,
            "\ufeff" + text,
        )
    )


def _rescale(explanation, power):
    """The same explanation in units that are larger by a power of two where they are multiplied by smaller ones."""
    units = [(explanation, {"factor_unit": 1, "centre_unit": 1, "coordinates_unit": -1, "unit": -1})]
    units += [
        (entry, {"alpha_unit": 1, "gamma_unit": 1, "kappa_unit": -1})
        for entry in explanation.get("rho_sets", [])
    ]
    for where, signs in units:
        for key in signs.keys() & where.keys():
            where[key] += signs[key] * power


def _change(plain, others, random):
    parent, key = plain, "explanation"
    if random.random() < 0.1 or not plain.get("explanation"):
        key = random.choice(sorted(plain)) if plain else "format"
    while isinstance(parent, dict | list) and key in (range(len(parent)) if type(parent) is list else parent):
        child = parent[key]
        inside = isinstance(child, dict | list) and len(child) > 0
        if not inside or (key != "explanation" and random.random() < 0.25):
            break
        parent, key = child, random.choice(sorted(child) if isinstance(child, dict) else range(len(child)))
    else:
        return
    value = parent[key]
    if type(value) is int and random.random() < 0.7:
        step = random.choice((1, -1, 1 << random.randrange(52)))
        parent[key] = random.choice((value + step, -value, 2 * value, value // 2, random.randrange(12)))
    elif isinstance(value, list) and len(value) > 1 and random.random() < 0.7:
        first, second = random.sample(range(len(value)), 2)
        random.choice(
            (
                lambda: value.__setitem__(first, value[second]),
                lambda: value.insert(first, value.pop(second)),
                lambda: value.append(value[first]),
                lambda: value.pop(first),
                lambda: random.shuffle(value),
                value.reverse,
            )
        )()
    elif random.random() < 0.5 and type(key) is str:
        # A part of another network's certificate, or of another verifier's.
        donors = [other for other in others if key in other.get("explanation", {})]
        if donors:
            parent[key] = json.loads(json.dumps(random.choice(donors)["explanation"][key]))
    elif random.random() < 0.3:
        del parent[key]
    else:
        parent[key] = copy.deepcopy(random.choice(ODD))
