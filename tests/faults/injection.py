"""Faults, injected into jobs that run in a child process: kills, full disks, damage, clocks, a second process.

Each function breaks one job once (or, for kills, until it gets through) and says what came of it. What may come of
it: the job's own result to the bit, or one of aitia's errors; anything else is a failure.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults.jobs import Job

# Of a child: done, or refused with one of aitia's errors, or broken.
DONE, REFUSED, BROKEN = 0, 2, 3


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a fault.

    Attributes:
        struck: faults that took effect.
        refused: how often aitia said what is wrong.
        messages: what it said.
        wrong: what should not have happened; empty if all is well.
    """

    struck: int
    refused: int = 0
    messages: tuple[str, ...] = ()
    wrong: str = ""


def run_child(job: Callable[[], object], said: Path, before: Callable[[], None] | None = None) -> int:
    """Start a job in a child process by fork, so that nothing is imported anew; its process id."""
    process = os.fork()
    if process:
        return process
    code = BROKEN
    try:
        from aitia.errors import AitiaError

        try:
            if before is not None:
                before()
            job()
            code, message = DONE, ""
        except AitiaError as error:
            code, message = REFUSED, str(error)
        except BaseException:
            message = traceback.format_exc()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        said.write_text(message, encoding="utf-8")
    finally:
        os._exit(code)


def wait_for(process: int) -> int:
    """The exit status of a child; -9 where it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill_at_random(
    job: Job, folder: Path, expected: dict[str, str], rng: random.Random, seconds: float
) -> Outcome:
    """Kill the job at random moments, starting it again each time, five times at most; then let it run through."""
    said, struck = folder.with_suffix(".said"), 0
    for attempt in range(6):
        process = run_child(lambda: job.run(folder), said)
        if attempt < 5:
            time.sleep(rng.uniform(0, seconds))
            os.kill(process, signal.SIGKILL)
        code = wait_for(process)
        if code == -signal.SIGKILL:
            struck += 1
        elif code != DONE:
            return Outcome(struck=struck, wrong=f"exit {code}: {said.read_text()}")
        else:
            break
    return _compare(job, folder, expected, struck, ())


def fill_the_disk(
    job: Job, folder: Path, expected: dict[str, str], rng: random.Random, largest: int
) -> Outcome:
    """Let no file grow beyond a random size, as on a full disk; then make room and run again."""
    said = folder.with_suffix(".said")
    limit = rng.randrange(1, largest)

    def no_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    code = wait_for(run_child(lambda: job.run(folder), said, no_room))
    message = said.read_text()
    if code not in (DONE, REFUSED) or (code == REFUSED and "cannot be written" not in message):
        return Outcome(struck=1, wrong=f"exit {code}: {message}")
    again = wait_for(run_child(lambda: job.run(folder), said))
    if again != DONE:
        return Outcome(struck=1, wrong=f"after making room, exit {again}: {said.read_text()}")
    return _compare(job, folder, expected, 1, (message,) if code == REFUSED else ())


def damage(job: Job, finished: Path, folder: Path, expected: dict[str, str], rng: random.Random) -> Outcome:
    """Flip a bit of, or cut, a file of a finished job; it may be refused, or do no harm, but never lead astray."""
    from aitia.errors import AitiaError

    shutil.copytree(finished, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    file = rng.choice(files)
    content = bytearray(file.read_bytes())
    if rng.random() < 0.25:
        content = content[: rng.randrange(len(content))]
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)
    try:
        found = job.result(folder)
    except AitiaError as error:
        return Outcome(struck=1, refused=1, messages=(str(error),))
    except Exception:
        return Outcome(struck=1, wrong=f"{file.name}: {traceback.format_exc()}")
    return Outcome(struck=1, wrong="" if found == expected else f"{file.name}: damaged, and another result")


def turn_the_clock(
    job: Job, folder: Path, expected: dict[str, str], rng: random.Random, seconds: float
) -> Outcome:
    """Kill the job, set its files' times at random, and go on under a clock that jumps by years, back and forth."""
    said = folder.with_suffix(".said")
    process = run_child(lambda: job.run(folder), said)
    time.sleep(rng.uniform(0, seconds))
    os.kill(process, signal.SIGKILL)
    wait_for(process)
    for path in folder.rglob("*") if folder.exists() else ():
        moment = rng.randrange(0, 2**32)
        os.utime(path, (moment, moment))
    real = time.time

    def jumping() -> None:
        time.time = lambda: real() + rng.uniform(-3e9, 3e9)  # type: ignore[assignment]

    code = wait_for(run_child(lambda: job.run(folder), said, jumping))
    if code != DONE:
        return Outcome(struck=1, wrong=f"exit {code}: {said.read_text()}")
    return _compare(job, folder, expected, 1, ())


def run_two_at_once(
    job: Job, folder: Path, expected: dict[str, str], rng: random.Random, seconds: float
) -> Outcome:
    """Start the job twice in one folder, the second a moment later: one may be turned away, in plain words."""
    said = [folder.with_suffix(f".said-{i}") for i in range(2)]
    first = run_child(lambda: job.run(folder), said[0])
    time.sleep(rng.uniform(0, seconds / 2))
    codes = [wait_for(run_child(lambda: job.run(folder), said[1])), wait_for(first)]
    messages = tuple(path.read_text() for path in said if path.read_text())
    if DONE not in codes or not set(codes) <= {DONE, REFUSED}:
        return Outcome(struck=1, wrong=f"exits {codes}: {messages}")
    if any("another process is at work on it" not in message for message in messages):
        return Outcome(struck=1, wrong=f"unclear: {messages}")
    return _compare(job, folder, expected, 1, messages)


def _compare(
    job: Job, folder: Path, expected: dict[str, str], struck: int, messages: tuple[str, ...]
) -> Outcome:
    """Hold what a folder holds against an undisturbed run, and look for what was left half-written."""
    try:
        found = job.result(folder)
    except Exception:
        return Outcome(struck=struck, wrong=traceback.format_exc())
    parts = [path.name for path in folder.rglob("*") if path.name.endswith(".part")]
    wrong = "" if found == expected else "another result than undisturbed"
    if parts:
        wrong += f" left half-written: {parts}"
    return Outcome(struck=struck, refused=len(messages), messages=messages, wrong=wrong)


def undisturbed(job: Job, folder: Path) -> tuple[dict[str, str], float, int]:
    """A job's result, how long it takes, and the size of its largest file."""
    job.run(folder)
    seconds = float("inf")
    for number in range(3):  # the fastest counts: kills are to fall into the work, not behind it
        start, place = time.monotonic(), folder.with_name(f"{folder.name}-{number}")
        wait_for(run_child(lambda place=place: job.run(place), folder.with_suffix(".said")))
        seconds = min(seconds, time.monotonic() - start)
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return job.result(folder), seconds, max(sizes)


def available() -> bool:
    """Whether this system can start a process by fork."""
    return "fork" in multiprocessing.get_all_start_methods()
