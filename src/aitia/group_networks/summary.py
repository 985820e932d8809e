"""What was found in a network as plain figures: for tables, JSON and verdicts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from aitia.group_networks.circuits import Circuit, RhoSet, rho_sets
from aitia.group_networks.interpretation import Interpretation
from aitia.group_networks.measures import (
    deviation,
    equivariance,
    every_logit,
    explained_share,
    rank_one_share,
    spread,
)
from aitia.group_networks.shared_space import shared_dimension, shared_spectrum, uniformity

FILLED = 0.8
"""Least share of a rho-set's pairs that must carry a coefficient for it to count as complete."""
EXPLAINED = 0.95
"""Least share of the logits' variance, and of the neurons' weight, for a network to count as explained."""


@dataclass(frozen=True, kw_only=True)
class CircuitSummary:
    """One circuit in figures. Means over neurons are weighted.

    Attributes:
        irrep: name of its irrep.
        type: `real`, `complex` or `quaternionic`.
        left_points: size of the left G-set; the stabiliser has n / left_points elements.
        right_points: size of the right one.
        neurons: how many neurons.
        weight: their share of the network's weight.
        profiles: how many different (alpha, gamma) they have, up to a positive factor and translation.
        pairs: how many pairs of points carry a neuron.
        possible_pairs: left_points times right_points.
        constancy: how nearly they have one shared vector: the largest share of squared singular values of their
            alphas, each of unit length; 1 if all are equal up to sign.
        planarity: how nearly they share a plane: the sum of the two largest shares.
        shared_dimension: how many shared vectors span their alphas: 1 for a rho-set, 2 for a shared plane.
        uniformity: share of what the circuit adds to the logits that depends on x^-1 z y^-1 alone; 1 where the neurons
            of every pair of points add up to one table.
        silence: by how much less than on average the neurons speak where x^-1 b = y c, which is where the right answer
            takes c to b: 1 if they are silent there, 0 also where the two G-sets differ.
        rank_one: mean share of the largest rank-one term of left tables in the irrep.
        irrep_share: mean share of left tables in the irrep.
        left_structure, right_structure: mean share of the variance that lies between cosets of the stabiliser.
        unembed_structure: mean share of the unembedding's variance that is constant on orbits of pairs.
        filled: share of pairs that carry a coefficient, by rho-set, heaviest first.
        variation: coefficient of variation of the coefficients over all pairs, by rho-set.
    """

    irrep: str
    type: str
    left_points: int
    right_points: int
    neurons: int
    weight: float
    profiles: int
    pairs: int
    possible_pairs: int
    constancy: float
    planarity: float
    shared_dimension: int
    uniformity: float
    silence: float
    rank_one: float
    irrep_share: float
    left_structure: float
    right_structure: float
    unembed_structure: float
    filled: tuple[float, ...]
    variation: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class NetworkSummary:
    """A network and its interpretation in figures.

    Attributes:
        group: name of the group.
        order: n.
        neurons: m.
        accuracy: share of all inputs whose right logit is the largest.
        negligible: neurons set aside; together they carry next to nothing.
        unexplained: neurons in no circuit.
        unexplained_weight: their share of the weight.
        irrep_sparsity: weighted mean over left, right and unembed of each neuron's largest share in one irrep.
        left_equivariance, right_equivariance, bi_equivariance: see `Equivariance`.
        deviation: standard deviation over |mean| of the right logit; see `deviation`.
        hidden_explains: share of the logits' variance explained by making the hidden layer exactly of the circuits'
            form, the unembedding as trained, the other neurons left out.
        coset_accuracy: accuracy with each neuron, unembedding included, made exactly of its circuit's form.
        coset_explains: share of the logits' variance which that network explains.
        ideal_margin: margin of the sum of all rho-sets, the same for every input; it is right where this is positive.
        ideal_explains: share of the logits' variance that the sum of all rho-sets explains.
        rho_set_weight: share of the weight in rho-sets that are complete (or of degree one, which the bias completes).
        plane_weight: share of the weight in circuits with at most a plane of shared vectors, for which a stabiliser is
            needed that is not trivial.
        numbers_share: numbers that the circuits hold over numbers that the network holds.
        circuits: one by one, heaviest first.
    """

    group: str
    order: int
    neurons: int
    accuracy: float
    negligible: int
    unexplained: int
    unexplained_weight: float
    irrep_sparsity: float
    left_equivariance: float
    right_equivariance: float
    bi_equivariance: float
    deviation: float
    hidden_explains: float
    coset_accuracy: float
    coset_explains: float
    ideal_margin: float
    ideal_explains: float
    rho_set_weight: float
    plane_weight: float
    numbers_share: float
    circuits: tuple[CircuitSummary, ...]

    @property
    def explained_by_rho_sets(self) -> bool:
        """Whether complete rho-sets, each with one shared vector, carry it: the paper's sense, our thresholds."""
        return self.rho_set_weight >= EXPLAINED and self.ideal_explains >= EXPLAINED and self.ideal_margin > 0

    @property
    def explained_by_shared_spaces(self) -> bool:
        """Whether a shared vector or plane for each circuit carries it, and its neurons add up to what is right."""
        return self.plane_weight >= EXPLAINED and self.explained_by_projection

    @property
    def explained_by_cosets(self) -> bool:
        """Whether neurons exactly of the circuits' form are as accurate, and explain the logits."""
        return self.coset_explains >= EXPLAINED and self.coset_accuracy >= self.accuracy > 0

    @property
    def explained_by_projection(self) -> bool:
        """Whether the sum of all rho-sets, complete or not, explains the logits and is right."""
        return self.ideal_explains >= EXPLAINED and self.ideal_margin > 0

    @property
    def explained(self) -> bool:
        """Whether any of the readings holds; a shared vector and a shared plane are cases of the sum."""
        return self.explained_by_rho_sets or self.explained_by_cosets or self.explained_by_projection

    @property
    def verdict(self) -> str:
        """One sentence for people."""
        if not self.circuits:
            return "nothing found: no neuron belongs to a circuit"
        if self.explained_by_rho_sets:
            return "explained by complete rho-sets"
        if self.explained_by_shared_spaces:
            return "explained by shared vectors or planes, whose neurons add up"
        if self.explained_by_cosets:
            return "explained by neurons on G-sets; their sum is not uniform enough for more"
        if self.explained_by_projection:
            return "explained by the sum of incomplete rho-sets"
        share = max(self.coset_explains, self.ideal_explains)
        if share >= EXPLAINED:
            return f"circuits were found, and explain {share:.0%} of the logits' variance, but not every right answer"
        return f"circuits were found, but they explain {share:.1%} of the logits' variance only"

    def plain(self) -> dict[str, Any]:
        """All figures and verdicts, ready for JSON."""
        verdicts = (
            "explained_by_rho_sets",
            "explained_by_shared_spaces",
            "explained_by_cosets",
            "explained_by_projection",
            "explained",
            "verdict",
        )
        return asdict(self) | {name: getattr(self, name) for name in verdicts}


def summarise(interpretation: Interpretation) -> NetworkSummary:
    """Measure what was found: exact over all inputs, with 8 n^3 bytes for each of a few arrays of logits."""
    network, weights = interpretation.network, interpretation.weights
    logits = every_logit(network)
    equivariant = equivariance(network)
    coset_network = interpretation.coset_network
    circuits = tuple(_circuit_summary(interpretation, circuit) for circuit in interpretation.circuits)
    complete = [each for each in interpretation.rho_sets if _is_complete(interpretation, each)]
    held = sum(circuit.numbers for circuit in interpretation.circuits)
    return NetworkSummary(
        group=network.group.name,
        order=network.group.order,
        neurons=network.width,
        accuracy=network.accuracy,
        negligible=len(interpretation.negligible),
        unexplained=len(interpretation.unexplained),
        unexplained_weight=float(weights[interpretation.unexplained].sum()),
        irrep_sparsity=float((interpretation.shares.max(axis=1).mean(axis=0) * weights).sum()),
        left_equivariance=equivariant.left,
        right_equivariance=equivariant.right,
        bi_equivariance=equivariant.both,
        deviation=deviation(network),
        hidden_explains=explained_share(logits, every_logit(interpretation.hidden_network)),
        coset_accuracy=coset_network.accuracy,
        coset_explains=explained_share(logits, every_logit(coset_network)),
        ideal_margin=interpretation.ideal_margin,
        ideal_explains=explained_share(logits, spread(network.group, interpretation.ideal_logits)),
        rho_set_weight=float(sum(weights[each.neurons].sum() for each in complete)),
        plane_weight=float(
            sum(
                each.weight
                for circuit, each in zip(interpretation.circuits, circuits, strict=True)
                if each.shared_dimension <= 2 and not circuit.is_free
            )
        ),
        numbers_share=held / (3 * network.left.size + network.bias.size),
        circuits=circuits,
    )


def _is_complete(interpretation: Interpretation, rho_set: RhoSet) -> bool:
    irrep = next(irrep for irrep in interpretation.irreps if irrep.name == rho_set.irrep)
    return irrep.dimension == 1 or rho_set.filled >= FILLED


def silence(circuit: Circuit, mean: np.ndarray) -> float:
    """1 less the neurons' activation on equal points over that on all pairs of points; `mean` [k] weighs them."""
    if circuit.left_set.permutations.shape != circuit.right_set.permutations.shape or (
        (circuit.left_set.permutations != circuit.right_set.permutations).any()
    ):
        return 0.0
    shares = []
    for alpha, gamma in zip(circuit.left_tables, circuit.right_tables, strict=True):
        every = np.maximum(alpha[:, None] + gamma, 0)
        shares.append(1 - every.diagonal().mean() / max(every.mean(), 1e-300))
    return float(np.array(shares) @ mean)


def _circuit_summary(interpretation: Interpretation, circuit: Circuit) -> CircuitSummary:
    weights = interpretation.weights[circuit.neurons]
    mean = weights / weights.sum()
    number, irrep = next(
        (k, each) for k, each in enumerate(interpretation.irreps) if each.name == circuit.irrep
    )
    left = interpretation.network.left[:, circuit.neurons].astype(np.float64).T
    structure = interpretation.structure[:, circuit.neurons] @ mean
    ideal = rho_sets(circuit)
    spectrum = shared_spectrum(circuit, mean)
    return CircuitSummary(
        irrep=circuit.irrep,
        type=irrep.type,
        left_points=circuit.left_set.size,
        right_points=circuit.right_set.size,
        neurons=len(circuit.neurons),
        weight=float(weights.sum()),
        profiles=len(ideal),
        pairs=len(np.unique(np.stack([circuit.left_points, circuit.right_points]), axis=1).T),
        possible_pairs=circuit.pairs,
        constancy=float(spectrum[0]),
        planarity=float(spectrum[:2].sum()),
        shared_dimension=shared_dimension(spectrum),
        uniformity=uniformity(circuit),
        silence=silence(circuit, mean),
        rank_one=float(np.array([rank_one_share(row, irrep) for row in left]) @ mean),
        irrep_share=float(interpretation.shares[0, number, circuit.neurons] @ mean),
        left_structure=float(structure[0]),
        right_structure=float(structure[1]),
        unembed_structure=float(structure[2]),
        filled=tuple(each.filled for each in ideal),
        variation=tuple(each.variation for each in ideal),
    )
