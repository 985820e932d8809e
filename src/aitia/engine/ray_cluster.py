"""Tasks on a Ray cluster: workers that are lost are replaced, and what they held is done again.

Ray carries tasks and results between processes as pickles: whoever can reach a cluster's ports can run code
on it. They belong on a network that only you can reach (see SECURITY.md).
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from aitia import __version__
from aitia.engine.progress import Advance
from aitia.errors import AitiaError

if TYPE_CHECKING:
    from aitia.engine.tasks import Engine, Work

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 2
_LOSSES = 5
_PATIENCE_SECONDS = 600
_KEPT: dict[Engine, _Kept] = {}


class Worker:
    """What runs in a worker's process: the work, kept from its first task on until other work comes."""

    def __init__(self, version: str, threads: int):
        self._version, self._threads = version, threads
        self._reference: Any = None
        self._work: Work[Any, Any] | None = None

    def ready(self) -> None:
        """Come back once the process is up."""

    def do(self, work: list[Any], task: Any) -> tuple[Any, int]:
        """The result of a task, and how many units were done.

        Args:
            work: a reference to it, in a list, so that Ray hands it on as it is: the worker takes the work out
                itself, once, and what fails then is an error of its first task.
            task: to be done.

        Returns:
            What the task returned, and the units it counted.
        """
        if self._work is None or self._reference != work[0]:
            self._work = None
            self._work = self._start(work[0])
            self._reference = work[0]
        units = 0

        def count(more: int) -> None:
            nonlocal units
            units += more

        return self._work(task, count), units

    def _start(self, reference: Any) -> Work[Any, Any]:
        import ray

        if self._version != __version__:
            raise AitiaError(
                f"a worker on {ray.util.get_node_ip_address()} has aitia {__version__}, this process "
                f"{self._version}; install the same on every machine"
            )
        # The number of threads decides how sums are split, and so the last bits.
        os.environ["OMP_NUM_THREADS"] = str(self._threads)
        from ray import cloudpickle

        work = cloudpickle.loads(ray.get(reference))
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self._threads)
        return work


@dataclass(eq=False)
class _Hired:
    """A worker as its employer sees it: what it was asked for, by reference to the answer."""

    actor: Any
    asked: dict[Any, int | None] = field(default_factory=dict)
    ready: bool = False


def run_on_ray(work: Work[T, R], tasks: Iterable[T], *, engine: Engine, advance: Advance) -> Iterator[R]:
    """Do tasks on a cluster; see `aitia.engine.run_tasks`."""
    with _crew(engine) as crew:
        crew.take_up(work)
        source, held, done, losses = enumerate(tasks), {}, {}, {}
        to_send: deque[int] = deque()
        taken = 0
        try:
            while True:
                while len(held) < 2 * _AT_ONCE * crew.size and (drawn := next(source, None)) is not None:
                    held[drawn[0]] = drawn[1]
                    to_send.append(drawn[0])
                if not held:
                    return
                if taken in done:
                    yield done.pop(taken)
                    del held[taken]
                    taken += 1
                    continue
                crew.send(to_send, held)
                for number, answer in crew.wait():
                    if answer is None:
                        losses[number] = losses.get(number, 0) + 1
                        if losses[number] > _LOSSES:
                            raise AitiaError(
                                f"{losses[number]} workers were lost while task {number} was with them, the last "
                                f"by: {crew.last_loss}; is there memory enough for a model in each?"
                            )
                        to_send.appendleft(number)
                    else:
                        done[number], units = answer
                        advance(units)
        finally:
            crew.put_down()


@contextmanager
def keeping_crew(engine: Engine) -> Iterator[None]:
    """Keep the workers, and the model in them, from one piece of work in the block to the next."""
    if engine in _KEPT:
        yield
        return
    with ExitStack() as stack:
        _KEPT[engine] = _Kept(stack)
        stack.callback(_KEPT.pop, engine)
        yield


@dataclass(eq=False)
class _Kept:
    """A crew that is hired when the first work comes, and dismissed with the block."""

    stack: ExitStack
    crew: _Crew | None = None


class _Crew:
    """The workers of an engine."""

    def __init__(self, ray: Any, engine: Engine):
        import torch

        self._ray, self._engine = ray, engine
        self._class = ray.remote(num_cpus=engine.cpus, num_gpus=engine.gpus, max_restarts=0)(Worker)
        self._arguments = (__version__, torch.get_num_threads())
        self._work: list[Any] = []
        self.size = engine.workers or _places(ray, engine)
        self.last_loss = ""
        self._workers = [self._hire() for _ in range(self.size)]

    def take_up(self, work: Work[Any, Any]) -> None:
        """Send other work from now on."""
        self._work = [self._ray.put(self._ray.cloudpickle.dumps(work))]

    def put_down(self) -> None:
        """Forget the work; workers that are still at it, because it was broken off, are replaced."""
        self._work = []
        for worker in [
            worker for worker in self._workers if any(n is not None for n in worker.asked.values())
        ]:
            self._replace(worker, "the work was broken off")

    def send(self, to_send: deque[int], held: dict[int, Any]) -> None:
        """Give tasks to the workers that have least to do."""
        while to_send:
            able = [worker for worker in self._workers if worker.ready and len(worker.asked) < _AT_ONCE]
            if not able:
                return
            worker = min(able, key=lambda worker: len(worker.asked))
            number = to_send.popleft()
            worker.asked[worker.actor.do.remote(self._work, held[number])] = number

    def wait(self) -> list[tuple[int, Any]]:
        """Wait until something happens: the tasks answered, or with None those of a worker that is lost."""
        references = [reference for worker in self._workers for reference in worker.asked]
        found, _ = self._ray.wait(references, num_returns=1, timeout=_PATIENCE_SECONDS)
        if not found:
            if any(worker.ready for worker in self._workers):
                return []
            raise AitiaError(
                f"the cluster gave no worker in {_PATIENCE_SECONDS // 60} minutes; one asks for {self._engine.cpus:g} "
                f"processors and {self._engine.gpus:g} accelerators, and the cluster has "
                f"{self._ray.cluster_resources()}"
            )
        worker = next(worker for worker in self._workers if found[0] in worker.asked)
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(found[0])
        except errors.RayTaskError as error:
            raise error.cause from None
        except errors.RayError as error:
            return self._replace(worker, error)
        number = worker.asked.pop(found[0])
        if number is None:
            worker.ready = True
            return []
        return [(number, answer)]

    def dismiss(self) -> None:
        """End all workers."""
        for worker in self._workers:
            self._ray.kill(worker.actor)

    def _hire(self) -> _Hired:
        worker = _Hired(self._class.remote(*self._arguments))
        worker.asked[worker.actor.ready.remote()] = None
        return worker

    def _replace(self, worker: _Hired, error: Exception | str) -> list[tuple[int, Any]]:
        self.last_loss = " ".join(str(error).split())[:200]
        self._workers.remove(worker)
        self._ray.kill(worker.actor)
        self._workers.append(self._hire())
        return [(number, None) for number in worker.asked.values() if number is not None]


def _places(ray: Any, engine: Engine) -> int:
    """How many workers fit into the cluster."""
    there = ray.cluster_resources()
    limits = [there.get("CPU", 0) // engine.cpus] if engine.cpus else []
    limits += [there.get("GPU", 0) // engine.gpus] if engine.gpus else []
    return max(int(min(limits, default=1)), 1)


@contextmanager
def _crew(engine: Engine) -> Iterator[_Crew]:
    with keeping_crew(engine):
        kept = _KEPT[engine]
        if kept.crew is None:
            ray = kept.stack.enter_context(_cluster(engine))
            kept.crew = _Crew(ray, engine)
            kept.stack.callback(kept.crew.dismiss)
        yield kept.crew


@contextmanager
def _cluster(engine: Engine) -> Iterator[Any]:
    """Ray, connected; what was connected before stays so."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise AitiaError("engine ray needs Ray: pip install 'aitia[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    _require_reachable(engine.address)
    where: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    where |= {"address": engine.address} if engine.address else {"include_dashboard": False}
    if not engine.address and engine.workers:
        where["num_cpus"] = max(int(engine.workers * engine.cpus), 1)
    try:
        ray.init(**where)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        said = " ".join(str(error).split())[:200]
        raise AitiaError(f"no Ray cluster at {engine.address or 'this machine'}: {said}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_reachable(address: str) -> None:
    """Try the address for some seconds; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise AitiaError(
            f"no Ray cluster at {address}: {error}; start one with `ray start --head` on one machine and "
            "`ray start --address=HOST:6379` on the others"
        ) from None
