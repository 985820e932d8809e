"""What a command writes is kept apart from what it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_type_hints

from aitia.files import require_apart

WRITTEN = {"out", "removed", "left_out", "report", "scorecard"}
"""Parameters that name what a command writes; its other paths are read."""
_MODELS = ("model", "base", "adapter")


def keep_apart(command: Any) -> None:
    """Have a command and all below it refuse, before any work, to write onto what it reads or twice into one place.

    Args:
        command: of click.
    """
    for each in getattr(command, "commands", {}).values():
        keep_apart(each)
    if hasattr(command, "commands"):
        return
    work = command.invoke
    hints = get_type_hints(command.callback)
    paths = {name for name, hint in hints.items() if Path in _parts(hint)}

    def invoke(context: Any) -> Any:
        outputs: dict[str, Path] = {}
        inputs: dict[str, Path] = {}
        for parameter in command.params:
            value = context.params.get(parameter.name)
            is_model = parameter.name in _MODELS and value is not None and Path(value).exists()
            if value is None or not (is_model or parameter.name in paths):
                continue
            for number, path in enumerate(value if isinstance(value, list | tuple) else [value]):
                named = f"{parameter.opts[0]}{f' ({number + 1})' * bool(number)}"
                (outputs if parameter.name in WRITTEN else inputs)[named] = Path(path)
        require_apart(outputs, inputs, nested=True)
        return work(context)

    command.invoke = invoke


def _parts(hint: Any) -> set[Any]:
    """A type and all that it is made of."""
    return {hint}.union(*(_parts(each) for each in get_args(hint)))
