"""Where in the model an explanation's variable is claimed to live, and how its value is read off there.

With an unrestricted map almost any network can be read as almost any hypothesis (Sutter et al. 2025), so a map
is of a named class, is fitted on the fit split alone, and is charged for in bits. Sizes of maps are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aitia.errors import ExplanationError

REAL_BITS = 16
"""Bits that a real number of a map is charged."""

Read = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedMap:
    """A map from activations [n, d] to values [n], and back where it has an inverse."""

    read: Read
    write: Callable[[np.ndarray], np.ndarray] | None
    bits: float


@dataclass(frozen=True, kw_only=True, eq=False)
class MapClass:
    """A class of maps.

    Attributes:
        name: how an alignment asks for it.
        fit: (activations [n, d], values [n]) -> the map.
        restricted: whether it can fail; a class that can fit anything says nothing.
    """

    name: str
    fit: Callable[[np.ndarray, np.ndarray], FittedMap]
    restricted: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """One variable's place in the model.

    Attributes:
        site: the site.
        subspace: whole numbers [d], components of the site; or reals [width, d], an orthonormal basis;
            default: the whole site.
        read: activations [n, d] in the subspace -> values [n]; or the name of a map class in `MAPS`, fitted on the
            fit split; default: not read, so that only interchange can be tested.
        write: values [n] -> activations [n, d], an inverse of `read`; fitted maps bring their own.
        bits: what a given map costs; fitted maps know their own cost.
    """

    site: str
    subspace: Any = None
    read: Read | str | None = None
    write: Callable[[np.ndarray], np.ndarray] | None = None
    bits: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.read, str) and self.read not in MAPS:
            raise ExplanationError(f"map {self.read!r}: choose one of {', '.join(MAPS)}")

    @property
    def fitted(self) -> bool:
        """Whether the map is fitted."""
        return isinstance(self.read, str)

    def part(self, activations: np.ndarray) -> np.ndarray:
        """The aligned part [n, d] of a site's activations [n, width]."""
        if self.subspace is None:
            return activations
        subspace = np.asarray(self.subspace)
        return activations[:, subspace] if subspace.ndim == 1 else activations @ subspace

    def put(self, activations: np.ndarray, part: np.ndarray) -> np.ndarray:
        """Activations [n, width] with the aligned part set to `part` [n, d], and all else as it was."""
        if self.subspace is None:
            return part.reshape(activations.shape)
        subspace = np.asarray(self.subspace)
        if subspace.ndim == 2:
            return activations + (part - activations @ subspace) @ subspace.T
        changed = np.array(activations, dtype=float)
        changed[:, subspace] = part
        return changed

    def resolve(self, activations: np.ndarray | None, values: np.ndarray | None) -> FittedMap | None:
        """The map itself, fitted if need be on activations [n, d] and values [n]; None if there is none.

        Returns:
            The map, or None.

        Raises:
            ExplanationError: a map must be fitted and there is nothing to fit it on.
        """
        if self.read is None:
            return None
        if not isinstance(self.read, str):
            return FittedMap(read=self.read, write=self.write, bits=self.bits)
        if activations is None or values is None or len(values) == 0:
            raise ExplanationError(
                f"the map at {self.site} is to be fitted ({self.read}), but the phenomenon has no fit split"
            )
        return MAPS[self.read].fit(activations, values)


def _nearest_mean(activations: np.ndarray, values: np.ndarray) -> FittedMap:
    """Each value's mean activation; reads the value whose mean is nearest, writes the mean."""
    kinds = np.unique(values)
    means = np.stack([activations[values == kind].mean(axis=0) for kind in kinds])

    def read(given: np.ndarray) -> np.ndarray:
        return kinds[np.square(given[:, None] - means[None]).sum(axis=-1).argmin(axis=1)]

    def write(wanted: np.ndarray) -> np.ndarray:
        return means[np.abs(kinds[None] - np.asarray(wanted)[:, None]).argmin(axis=1)]

    return FittedMap(read=read, write=write, bits=float(means.size * REAL_BITS))


def _linear(activations: np.ndarray, values: np.ndarray) -> FittedMap:
    """Least squares with a constant; for real-valued variables."""
    design = np.column_stack([activations, np.ones(len(activations))])
    weights = np.linalg.lstsq(design, values.astype(float), rcond=None)[0]

    def read(given: np.ndarray) -> np.ndarray:
        return np.column_stack([given, np.ones(len(given))]) @ weights

    return FittedMap(read=read, write=None, bits=float(weights.size * REAL_BITS))


def _memorise(activations: np.ndarray, values: np.ndarray) -> FittedMap:
    """The value of the nearest activation seen: it can fit anything."""

    def nearest(given: np.ndarray) -> np.ndarray:
        found = [np.square(activations - row).sum(axis=1).argmin() for row in given]
        return values[np.asarray(found, dtype=int)]

    kinds = max(len(np.unique(values)), 1)
    bits = len(values) * (activations.shape[1] * REAL_BITS + np.log2(kinds))
    return FittedMap(read=nearest, write=None, bits=float(bits))


MAPS: Mapping[str, MapClass] = {
    "nearest-mean": MapClass(name="nearest-mean", fit=_nearest_mean),
    "linear": MapClass(name="linear", fit=_linear),
    "memorise": MapClass(name="memorise", fit=_memorise, restricted=False),
}
"""Name -> the class of maps from activations to values that is fitted on the fit split."""
