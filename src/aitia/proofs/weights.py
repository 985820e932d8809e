"""The network that a proof is about: plain arrays, checked, and named by their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from aitia.errors import GroupError, NetworkError, reason_of
from aitia.files import reading
from aitia.finite_groups import check_table
from aitia.proofs.bounds.arithmetic import LARGEST, ExactLogits
from aitia.proofs.cost import brute_force_cost

TENSORS = ("left", "right", "unembed", "bias", "cayley")
MAX_ORDER = 5_040
MAX_WIDTH = 16_384
MAX_BYTES = 2**31
MAX_OPERATIONS = 10**14
"""Largest brute-force cost of a network that is checked; no verifier takes much more than brute force."""

FORMAT = "aitia-group-network-v1"


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """logits(x, y) = relu(left[x] + right[y]) @ unembed + bias; the right answer is table[x, y]. Checked when made.

    Attributes:
        table: [n, n] the group's.
        left: [n, m] float64.
        right: [n, m] float64.
        unembed: [m, n] float64.
        bias: [n] float64.
        sha256: of names, types, shapes and bytes of the five arrays as they were given.
    """

    table: np.ndarray
    left: np.ndarray
    right: np.ndarray
    unembed: np.ndarray
    bias: np.ndarray
    sha256: str

    @property
    def order(self) -> int:
        """The number of elements, n."""
        return len(self.table)

    @property
    def width(self) -> int:
        """The number of neurons, m."""
        return self.left.shape[1]

    @property
    def inputs(self) -> int:
        """The number of inputs, n^2."""
        return self.order**2

    @cached_property
    def exact(self) -> ExactLogits:
        """The same in integers."""
        return ExactLogits(self.left, self.right, self.unembed, self.bias)


def weights_from_arrays(
    *, left: np.ndarray, right: np.ndarray, unembed: np.ndarray, bias: np.ndarray, cayley: np.ndarray
) -> Weights:
    """Check arrays and name them.

    Raises:
        NetworkError: they do not fit together, are too large, or hold what is not finite or above 2^100.
        GroupError: the table is no group.
    """
    given = {"left": left, "right": right, "unembed": unembed, "bias": bias, "cayley": cayley}
    # Subclasses of arrays may compare and multiply in ways of their own.
    arrays = {name: np.asarray(array) for name, array in given.items()}
    _require_shapes({name: array.shape for name, array in arrays.items()})
    converted = {}
    for name in TENSORS[:4]:
        if arrays[name].dtype not in (np.float32, np.float64):
            raise NetworkError(f"{name} holds {arrays[name].dtype}; float32 or float64 is needed")
        values = arrays[name].astype(np.float64)
        wrong = np.argwhere(~(np.abs(values) <= LARGEST))
        if len(wrong):
            raise NetworkError(
                f"{name}{wrong[0].tolist()} is {values[tuple(wrong[0])]}; a proof needs finite weights of at most 2^100"
            )
        values.flags.writeable = False
        converted[name] = values
    return Weights(table=check_table(cayley), sha256=_sha256(arrays), **converted)


def weights_of(network: Any) -> Weights:
    """The weights of a `GroupNetwork`, or of anything with its attributes.

    Raises:
        NetworkError: see `weights_from_arrays`.
    """
    return weights_from_arrays(
        left=network.left,
        right=network.right,
        unembed=network.unembed,
        bias=network.bias,
        cayley=network.group.table,
    )


def read_weights(path: Path | str) -> Weights:
    """Read a `.network.safetensors` file.

    Raises:
        NetworkError: the file is missing, damaged, too large, or its arrays are no network of a group.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if Path(path).stat().st_size > MAX_BYTES:
            raise NetworkError(f"the file has more than {MAX_BYTES:,} bytes")
        with reading(path), safe_open(str(path), framework="numpy") as file:
            found = (file.metadata() or {}).get("format")
            if found != FORMAT:
                raise NetworkError(f"not a network file (format {found!r}, not {FORMAT!r})")
            missing = sorted(set(TENSORS) - set(file.keys()))
            if missing:
                raise NetworkError(
                    f"has no tensor {', '.join(missing)}; a network holds {', '.join(TENSORS)}"
                )
            _require_shapes({name: tuple(file.get_slice(name).get_shape()) for name in TENSORS})
            return weights_from_arrays(**{name: file.get_tensor(name) for name in TENSORS})
    except FileNotFoundError:
        raise NetworkError(f"{path}: no such network file") from None
    except (NetworkError, GroupError) as error:
        raise NetworkError(f"{path}: {error}") from error
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise NetworkError(f"{path}: damaged network file, or none: {reason_of(error)}") from error


def _require_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check shapes alone, so that sizes which cannot be worked on are refused before they are read."""
    if len(shapes["left"]) != 2:
        raise NetworkError(f"left has shape {shapes['left']}; it needs two dimensions")
    n, m = shapes["left"]
    if not (1 <= n <= MAX_ORDER and 1 <= m <= MAX_WIDTH):
        raise NetworkError(
            f"a network on {n} elements with {m} neurons; at most {MAX_ORDER:,} and {MAX_WIDTH:,} are checked"
        )
    wanted = {"left": (n, m), "right": (n, m), "unembed": (m, n), "bias": (n,), "cayley": (n, n)}
    for name, shape in wanted.items():
        if shapes[name] != shape:
            raise NetworkError(f"{name} has shape {shapes[name]}, not {shape}")
    price = brute_force_cost(n, m)
    if price > MAX_OPERATIONS:
        raise NetworkError(
            f"brute force takes {price:.1e} operations; networks of at most {MAX_OPERATIONS:.0e} are checked"
        )


def _sha256(arrays: dict[str, np.ndarray]) -> str:
    found = hashlib.sha256()
    for name in TENSORS:
        array = np.ascontiguousarray(arrays[name].astype(np.int64) if name == "cayley" else arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()
