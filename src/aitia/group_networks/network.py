"""A folded group-operation network, and its file.

logits(x, y) = relu(left[x] + right[y]) @ unembed + bias, over the elements of a group; the right answer is xy.
Any network with one hidden layer and no hidden bias folds into this form (Morwani et al. 2024; Wu et al. 2025).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from aitia.errors import GroupError, NetworkError, reason_of
from aitia.files import atomic_path, digest, reading
from aitia.finite_groups import Group, group_from_table

FORMAT = "aitia-group-network-v1"
NETWORK_SUFFIX = ".network.safetensors"
"""Ending of the name of a network's file."""
TENSORS = ("left", "right", "unembed", "bias", "cayley")
_CHUNK_NUMBERS = 4_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupNetwork:
    """A folded network on a group of n elements, with m neurons. Arrays are checked when one is made.

    Attributes:
        group: the group whose product it should give.
        left: [n, m] what each left factor adds to each neuron.
        right: [n, m] the same for the right factor.
        unembed: [m, n] what each neuron adds to each logit.
        bias: [n] added to the logits.
        training: how it was trained, where that is known: seed, settings.
    """

    group: Group
    left: np.ndarray
    right: np.ndarray
    unembed: np.ndarray
    bias: np.ndarray
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = self.group.order
        if self.left.ndim != 2 or self.left.shape[1] == 0:
            raise NetworkError(f"left has shape {self.left.shape}, not ({n}, neurons)")
        m = self.left.shape[1]
        shapes = {"left": (n, m), "right": (n, m), "unembed": (m, n), "bias": (n,)}
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise NetworkError(
                    f"{name} has shape {array.shape}, not {shape}: {self.group.name} has {n} elements, left {m} neurons"
                )
            if array.dtype not in (np.float32, np.float64):
                raise NetworkError(f"{name} holds {array.dtype}; float32 or float64 is needed")
            wrong = np.argwhere(~np.isfinite(array))
            if len(wrong):
                raise NetworkError(
                    f"{name}{wrong[0].tolist()} is {array[tuple(wrong[0])]}, which is not finite"
                )

    @property
    def width(self) -> int:
        """The number of neurons, m."""
        return self.left.shape[1]

    @property
    def seed(self) -> int | None:
        """The seed it was trained with, where that is known."""
        return self.training.get("seed")

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the table and of every weight."""
        return digest(
            [self.group.fingerprint, *(getattr(self, name).tobytes().hex() for name in TENSORS[:4])]
        )

    def hidden(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """[..., m] float64 activations of the neurons."""
        left, right = self.left.astype(np.float64), self.right.astype(np.float64)
        return np.maximum(left[x] + right[y], 0)

    def logits(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """[..., n] float64 logits for elements x and y, arrays of one shape."""
        return self.hidden(x, y) @ self.unembed.astype(np.float64) + self.bias

    def every_logit(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Go through all inputs: some left factors [k], and their logits [k, n, n] for every right factor."""
        n = self.group.order
        step = max(_CHUNK_NUMBERS // (n * max(n, self.width)), 1)
        for start in range(0, n, step):
            x = np.arange(start, min(start + step, n))
            yield x, self.logits(x[:, None], np.arange(n)[None, :])

    @cached_property
    def margins(self) -> np.ndarray:
        """[n, n] by how much the right logit exceeds the largest wrong one; [1, 1] infinity for one element."""
        n = self.group.order
        found = np.empty((n, n))
        for x, logits in self.every_logit():
            answers = self.group.table[x][:, :, None]
            right = np.take_along_axis(logits, answers, axis=2)[..., 0]
            np.put_along_axis(logits, answers, -np.inf, axis=2)
            found[x] = right - logits.max(axis=2)
        return found

    @property
    def accuracy(self) -> float:
        """Share of all n^2 inputs whose right logit is the largest; a tie counts as wrong."""
        return float((self.margins > 0).mean())

    def save(self, path: Path | str) -> Path:
        """Write a `.network.safetensors` file, whole or not at all."""
        from safetensors.numpy import save_file

        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in TENSORS[:4]}
        tensors["cayley"] = np.ascontiguousarray(self.group.table)
        metadata = {
            "format": FORMAT,
            "group": self.group.name,
            "training": json.dumps(dict(self.training), sort_keys=True),
        }
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata)
        return Path(path)


def load_network(path: Path | str) -> GroupNetwork:
    """Read a `.network.safetensors` file, whoever trained the network.

    Raises:
        NetworkError: the file is missing, damaged, of another format, or its arrays do not fit together; or
            its table is no group, in which case the message names the elements where it fails.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with reading(path), safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise NetworkError(f"not a network file (format {metadata.get('format')!r}, not {FORMAT!r})")
            missing = sorted(set(TENSORS) - set(file.keys()))
            if missing:
                raise NetworkError(
                    f"has no tensor {', '.join(missing)}; a network holds {', '.join(TENSORS)}"
                )
            arrays = {name: file.get_tensor(name) for name in TENSORS}
            training = json.loads(metadata.get("training", "{}"))
            group = group_from_table(arrays.pop("cayley"), name=metadata.get("group", "group"))
            return GroupNetwork(group=group, training=training, **arrays)
    except FileNotFoundError:
        raise NetworkError(f"{path}: no such network file; make one with `aitia network train`") from None
    except (NetworkError, GroupError) as error:
        raise NetworkError(f"{path}: {error}") from error
    except (SafetensorError, OSError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise NetworkError(
            f"{path}: damaged network file, or none: {reason_of(error)}; make one with `aitia network train`"
        ) from error
