"""Answers that were paid for once, in a JSONL file that grows a line at a time."""

from __future__ import annotations

import glob
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from aitia.errors import JudgeError


class AnswerCache:
    """Key -> answer, in memory and in a file.

    Each answer is one line, written and flushed at once. A process that is killed can leave half a line at the
    end: that line is dropped when the file is opened again. Damage anywhere else is an error. One
    process at a time may write: a cache that is sent to another goes on in a file of its own beside the first,
    which is read with it the next time.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path | str):
        """Open a cache, or start one.

        Raises:
            JudgeError: the file is damaged; the line is named.
        """
        self.path = Path(path)
        self._answers: dict[str, str | None] = {}
        others = f"{glob.escape(self.path.stem)}.*{self.path.suffix}"
        for path in (self.path, *sorted(self.path.parent.glob(others))):
            if path.exists():
                self._read(path)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        self.path = self.path.with_name(f"{self.path.stem}.{uuid4().hex}{self.path.suffix}")

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def __getitem__(self, key: str) -> str | None:
        return self._answers[key]

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, key: str, answer: str | None, *, model: str) -> None:
        """Keep an answer, on the disk first; a key that is there already stays as it is."""
        if key in self._answers:
            return
        line = json.dumps({"key": key, "model": model, "answer": answer}) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)
        self._answers[key] = answer

    def _read(self, path: Path) -> None:
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                entry = json.loads(line)
                answer = entry["answer"]
                if not isinstance(answer, str | None):
                    raise TypeError("the answer is no text")
                self._answers[entry["key"]] = answer
            except (ValueError, KeyError, TypeError) as error:
                raise JudgeError(
                    f"{path}:{number}: damaged answer ({error}); delete the line, or give another file"
                ) from error
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)
