"""A step of a job, and the runner: a job is a list of steps, each of which comes after those that it takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aitia.attribution.gradients import Cost
from aitia.errors import AitiaError
from aitia.files import digest

if TYPE_CHECKING:
    from aitia.pipelines.steps.workload import Workload

T = TypeVar("T")
S = TypeVar("S", bound="Step[Any]")
DIGITS = 16
"""Digits of the digest in the name of a result."""


@dataclass(kw_only=True, eq=False, repr=False)
class Step(ABC, Generic[T]):
    """One part of a job. The steps that it takes are its fields, so that nothing else says how a job hangs together.

    Attributes:
        name: unique in its job; the plan and the seconds are listed by it.
    """

    name: str

    @property
    def takes(self) -> tuple[Step[Any], ...]:
        """The earlier steps whose results this one takes, in the order of its fields."""
        return tuple(value for each in fields(self) if isinstance(value := getattr(self, each.name), Step))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the earlier steps whose results this one takes."""
        return tuple(step.name for step in self.takes)

    @abstractmethod
    def depends(self) -> object:
        """What the result depends on beside the steps that it takes: settings and fingerprints, as plain JSON."""

    def key(self) -> str:
        """The digest of all that the result depends on: its kind, `depends()`, and the keys of the steps it takes."""
        return self._key

    @cached_property
    def _key(self) -> str:
        return digest([type(self).__name__, self.depends(), [step.key() for step in self.takes]])

    def done(self) -> bool:
        """Whether the result is there, made of all that `key` is a digest of. A step that keeps nothing has none."""
        return False

    def read(self) -> T:
        """The result that is there.

        Raises:
            AitiaError: it is damaged; the file is named.
        """
        raise NotImplementedError(f"{type(self).__name__} keeps no result")

    @abstractmethod
    def run(self, results: Results) -> T:
        """Make the result, and leave it where `read` finds it."""

    def cost(self, work: Workload) -> tuple[Cost, ...]:  # noqa: ARG002
        """What `run` takes, counted without the model's weights; nothing where it is not worth a line of a plan."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a step keeps its result.

    Attributes:
        folder: the folder.
        name: the file's or folder's name in it; where `made_of` is given, `{}` stands for its digest.
        made_of: gives what the name is a digest of, as plain JSON; none where the name is fixed, and the result
            itself says what it was made of.
        digits: of that digest.
    """

    folder: Path
    name: str
    made_of: Callable[[], object] | None = None
    digits: int = DIGITS

    @property
    def keyed(self) -> bool:
        """Whether the name says what the result was made of."""
        return self.made_of is not None

    def path(self) -> Path:
        """The file or folder."""
        if self.made_of is None:
            return self.folder / self.name
        return self.folder / self.name.format(digest(self.made_of())[: self.digits])

    def may_be_there(self) -> bool:
        """Whether anything is there that could be the result; asked first, because a name may cost a fingerprint."""
        return any(self.folder.glob(self.name.replace("{}", "*")))


@dataclass(kw_only=True)
class Results:
    """The results of the steps that have run or were read, and how long each took.

    Attributes:
        seconds: step -> seconds.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    _held: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, step: Step[T]) -> T:
        """The result of an earlier step."""
        return self._held[step.name]

    @contextmanager
    def clock(self, step: Step[Any]) -> Iterator[None]:
        """Add the seconds of the block to a step's."""
        start = perf_counter()
        yield
        self.seconds[step.name] = self.seconds.get(step.name, 0.0) + perf_counter() - start


def find_step(steps: Sequence[Step[Any]], kind: type[S]) -> S:
    """The first step of a kind.

    Returns:
        The step.

    Raises:
        AitiaError: there is none.
    """
    for step in steps:
        if isinstance(step, kind):
            return step
    raise AitiaError(
        f"this job has no {kind.__name__}; its steps are {', '.join(step.name for step in steps)}"
    )


def require_order(steps: Sequence[Step[Any]]) -> None:
    """Refuse a list in which a step has another's name, or comes before one that it takes.

    Raises:
        AitiaError: naming both.
    """
    before: list[Step[Any]] = []
    for step in steps:
        if any(step.name == other.name for other in before):
            raise AitiaError(f"two steps are called {step.name!r}; give one of them another name")
        for taken in step.takes:
            if not any(taken is other for other in before):
                raise AitiaError(
                    f"step {step.name!r} takes {taken.name!r}, which is not before it in the list"
                )
        before.append(step)


def wanted(steps: Sequence[Step[Any]]) -> list[tuple[Step[Any], bool]]:
    """The steps whose results are wanted, in their order, each with whether its result is there.

    Wanted is what no other step takes, and what a wanted step takes whose own result is not there.

    Returns:
        Each step, and whether its result is there.

    Raises:
        AitiaError: see `require_order`.
    """
    require_order(steps)
    taken = {id(each) for step in steps for each in step.takes}
    asked: set[int] = set()
    found = []
    for step in reversed(steps):
        if id(step) in taken - asked:
            continue
        there = step.done()
        found.append((step, there))
        asked |= set() if there else {id(each) for each in step.takes}
    return found[::-1]


def run_steps(steps: Sequence[Step[Any]]) -> Results:
    """Run a job: read each wanted result that is there, and make the others, in the order of the list.

    A result is let go as soon as no step to come takes it; those that no step takes are kept to the end.

    Args:
        steps: the job.

    Returns:
        What the steps gave.

    Raises:
        AitiaError: see `require_order`, and the steps.
    """
    require_order(steps)
    results = Results()
    for step in steps:  # what is read and loaded to know a step's key counts as that step's time
        with results.clock(step):
            step.key()
    to_come = wanted(steps)
    while to_come:
        step, there = to_come.pop(0)
        with results.clock(step):
            results._held[step.name] = step.read() if there else step.run(results)
        still = {each.name for other, is_there in to_come if not is_there for each in other.takes}
        for each in step.takes:
            if each.name not in still:
                results._held.pop(each.name, None)
    return results
