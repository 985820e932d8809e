"""Certificates of many networks, one after the other or on the workers of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aitia.engine import LOCAL, Advance, Engine, progress_bar, run_tasks
from aitia.errors import AitiaError, ProofError
from aitia.files import LOCK, lock_beside, only_here, remove_parts
from aitia.group_networks import NETWORK_SUFFIX, load_network
from aitia.proofs.certificate import SUFFIX
from aitia.proofs.cost import brute_force_cost
from aitia.proofs.proving import BEST, prove_accuracy, require_verifier


@dataclass(frozen=True, kw_only=True)
class Proved:
    """What a network's certificate says, without the explanation that makes it long.

    Attributes:
        certificate: its file; None where none was to be written.
        verifier: the name of the verifier that checks it.
        certified: how many inputs are right at least.
        inputs: how many there are.
        cost: operations of checking it.
        brute_force_cost: of running the network on every input.
        true_accuracy: by running it on every input; None where that was not asked for.
    """

    certificate: Path | None
    verifier: str
    certified: int
    inputs: int
    cost: int
    brute_force_cost: int
    true_accuracy: float | None = None

    @property
    def bound(self) -> float:
        """The accuracy that is certified at least, from 0 to 1."""
        return self.certified / self.inputs

    @property
    def cost_ratio(self) -> float:
        """Its cost as a share of brute force's."""
        return self.cost / self.brute_force_cost


def prove_files(
    networks: Sequence[Path | str],
    out: Path | str | None = None,
    *,
    verifier: str = BEST,
    brute_force: bool = False,
    engine: Engine = LOCAL,
) -> list[Proved | AitiaError]:
    """Prove each network of a batch, and write its certificate; one that cannot be proved stops no other.

    Args:
        networks: n `.network.safetensors` files.
        out: where the certificates go, see `certificate_paths`; without it none is written.
        verifier: see `prove`.
        brute_force: also run the networks on every input.
        engine: where networks are proved; workers read the networks and write the certificates themselves.

    Returns:
        [n] in the order of the networks: what is proved, or why nothing is.

    Raises:
        ProofError: no verifier has that name, or two certificates would have one place.
        StoreError: another process is writing to `out`.
    """
    require_verifier(verifier)
    files = [Path(network) for network in networks]
    targets = [None] * len(files) if out is None else certificate_paths(files, out)
    # A worker's own folder is another one.
    tasks = [
        (file.absolute(), None if target is None else target.absolute())
        for file, target in zip(files, targets, strict=True)
    ]
    work = partial(_prove_file, verifier, brute_force)
    with _only_here(out, targets), progress_bar("Proving", len(tasks), unit="networks") as advance:
        return list(run_tasks(work, tasks, engine=engine, advance=advance))


def certificate_paths(networks: Sequence[Path], out: Path | str) -> list[Path]:
    """Where the certificates of networks are written.

    Args:
        networks: the networks' files.
        out: for one network the certificate's file; for several, or where a folder is there, a folder, in which each
            certificate is called after its network.

    Raises:
        ProofError: two networks have one name.
    """
    folder = Path(out)
    if len(networks) == 1 and not folder.is_dir():
        return [folder]
    found: dict[Path, Path] = {}
    for network in networks:
        target = folder / f"{network.name.removesuffix(NETWORK_SUFFIX)}{SUFFIX}"
        if target in found:
            raise ProofError(
                f"{found[target]} and {network} would both be certified in {target}; prove them into two folders"
            )
        found[target] = network
    return list(found)


def _only_here(out: Path | str | None, targets: Sequence[Path | None]) -> AbstractContextManager[None]:
    if out is None:
        return nullcontext()
    return only_here(lock_beside(out) if targets == [Path(out)] else Path(out) / LOCK)


def _prove_file(
    verifier: str, brute_force: bool, task: tuple[Path, Path | None], advance: Advance
) -> Proved | AitiaError:
    path, target = task
    try:
        network = load_network(path)
        found = prove_accuracy(network, verifier=verifier)
        if target is not None:
            remove_parts(target.parent, target.name)
            found.save(target)
    except AitiaError as error:
        return error
    advance(1)
    return Proved(
        certificate=target,
        verifier=found.verifier,
        certified=found.certified,
        inputs=found.inputs,
        cost=found.cost,
        brute_force_cost=brute_force_cost(found.order, found.width),
        true_accuracy=network.accuracy if brute_force else None,
    )
