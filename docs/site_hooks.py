"""What the site's build adds to the pages: the project's own files, the command line's reference, links that hold.

Pages are written to read well in a checkout too. There a link may lead out of docs/; on the site it becomes the name
of the file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
FROM_ROOT = {name.lower(): name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")}
COMMANDS = "<!-- every command -->"
_LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the files of the project's root that are pages of the site."""
    for page, source in FROM_ROOT.items():
        files.append(
            File.generated(config, page, content=_inside_docs((ROOT / source).read_text(encoding="utf-8")))
        )
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the command line's reference; name the files that links out of docs/ lead to."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, _commands())
    if page.file.src_uri in FROM_ROOT:
        return markdown
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def leading_in(found: re.Match[str]) -> str:
        text, target = found[1], found[2]
        if "://" in target or (folder / target).resolve().is_relative_to(ROOT / "docs"):
            return found[0]
        return f"{text} (`{(folder / target).resolve().relative_to(ROOT)}`)"

    return _LINK.sub(leading_in, markdown)


def _inside_docs(markdown: str) -> str:
    """Links of a file in the project's root, seen from docs/."""

    def moved(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        if "://" in target:
            return found[0]
        if target.startswith("docs/"):
            return f"[{text}]({target.removeprefix('docs/')}{anchor})"
        return (
            f"[{text}]({target.lower()}{anchor})" if target in FROM_ROOT.values() else f"{text} (`{target}`)"
        )

    return _LINK.sub(moved, markdown)


def _commands() -> str:
    """Every command with its options, from the program itself."""
    from typer.main import get_command

    import aitia.cli

    return "\n".join(_section(get_command(aitia.cli.app), ["aitia"]))


def _section(command: Any, path: list[str]) -> list[str]:
    lines = []
    if len(path) > 1:
        lines += [f"{'#' * len(path)} {' '.join(path)}", "", _help_text(command), ""]
    parts = getattr(command, "commands", None)
    if parts:
        for name in sorted(parts):
            if not parts[name].hidden:
                lines += _section(parts[name], [*path, name])
        return lines
    lines += ["| | | default |", "|---|---|---|"]
    for parameter in command.params:
        if parameter.name == "help":
            continue
        argument = parameter.param_type_name == "argument"
        name = parameter.name.upper() if argument else ", ".join(parameter.opts)
        text = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")
        default = "required" if parameter.required else _default(parameter.default)
        lines.append(f"| `{name}` | {text} | {default} |")
    return [*lines, ""]


def _help_text(command: Any) -> str:
    """The help; paragraphs that typer keeps as they are, which it marks by a backspace, become code."""
    paragraphs = (command.help or "").replace("\f", "").strip().split("\n\n")
    shown = []
    for paragraph in paragraphs:
        kept = paragraph.startswith("\b")
        text = paragraph.removeprefix("\b").strip("\n")
        shown.append(f"```\n{text}\n```" if kept else text)
    return "\n\n".join(shown)


def _default(value: Any) -> str:
    return "" if value is None or callable(value) or value in ((), []) else f"`{value}`"
