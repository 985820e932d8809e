"""Tasks: shards of work, done one after the other in this process, or by workers on a Ray cluster.

Which tasks there are follows from data and settings alone, never from the engine or its number of workers,
and results come back in the order of the tasks. So whatever adds them up adds in the same order everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar, get_args

from aitia.engine.progress import Advance
from aitia.errors import AitiaError
from aitia.settings import AtLeast, AtMost, CountOrAll, check

T = TypeVar("T")
R = TypeVar("R")

Work = Callable[[T, Advance], R]
"""Does a task, and says as it goes how many units are done. With Ray it is sent to each worker once."""

EngineName = Literal["local", "ray"]
ENGINES = get_args(EngineName)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where work is done.

    Attributes:
        name: where the work is done: local, in this process, or ray, on the workers of a Ray cluster (the extra `ray`).
        address: address of the Ray cluster, as host:port, or auto for the one that runs on this machine; empty to start
            one in this process for as long as the work takes.
        workers: Ray workers, each a process with a model of its own; 0 for as many as the cluster holds.
        cpus: processors that a Ray worker asks for.
        gpus: accelerators that a Ray worker asks for; a share, 0.5, puts two workers on one.
    """

    name: EngineName = "local"
    address: str = ""
    workers: CountOrAll = 0
    cpus: Annotated[float, AtLeast(0), AtMost(1e6)] = 1.0
    gpus: Annotated[float, AtLeast(0), AtMost(1e6)] = 0.0

    def __post_init__(self) -> None:
        check(self, "engine")
        if self.name == "local" and (self.address or self.workers > 1):
            raise AitiaError("an address and workers belong to engine ray; the local engine is this process")


LOCAL = Engine()
"""This process."""


def keeping_workers(engine: Engine) -> AbstractContextManager[None]:
    """Keep an engine's workers, each with its model, from one `run_tasks` in the block to the next."""
    if engine.name == "local":
        return nullcontext()
    from aitia.engine.ray_cluster import keeping_crew

    return keeping_crew(engine)


def run_tasks(
    work: Work[T, R], tasks: Iterable[T], *, engine: Engine = LOCAL, advance: Advance = lambda _units: None
) -> Iterator[R]:
    """Do tasks, and give their results in the order of the tasks.

    Tasks are drawn as they are wanted: with Ray no more than a few a worker are on their way or waiting to be
    taken, so that neither side ever holds all of them.

    Args:
        work: what is done with a task; with Ray it is pickled, and each worker keeps what it got. A language
            model in it travels by name, and is loaded once a worker.
        tasks: what it is done with.
        engine: where.
        advance: called with how many units are done.

    Yields:
        the results.

    Raises:
        AitiaError: what `work` raised; or Ray is missing, unreachable, or keeps losing workers.
    """
    if engine.name == "ray":
        from aitia.engine.ray_cluster import run_on_ray

        yield from run_on_ray(work, tasks, engine=engine, advance=advance)
        return
    for task in tasks:
        yield work(task, advance)
