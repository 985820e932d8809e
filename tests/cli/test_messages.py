"""Every option and command that a text in the code names is there, on each command that may say so."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from cli.conftest import commands

import aitia
from aitia.cli.endings import in_options, run

SOURCE = Path(aitia.__file__).parent
COMMANDS = commands()
OPTIONS = {name: {opt for each in command.params for opt in each.opts} for name, command in COMMANDS.items()}
_PROGRAM = re.compile(r"(?<![\w/.-])(aitia|pip|ray|make|ulimit)(?= )")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
_SETTING = re.compile(r"`([a-z]+(?:_[a-z]+)*)(=[^`\s]+)?`")


def texts(node):
    """The strings in a part of the code, in order, those of f-strings joined; docstrings are left out."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs, joined = set(), set()
    for each in ast.walk(node):
        if isinstance(each, documented) and each.body and isinstance(each.body[0], ast.Expr):
            docs.add(each.body[0].value)
        if isinstance(each, ast.JoinedStr):
            joined |= {part for part in each.values if isinstance(part, ast.Constant)}
    found = []
    for each in ast.walk(node):
        if isinstance(each, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in each.values]
            found.append((each.lineno, each.col_offset, "".join(parts)))
        elif isinstance(each, ast.Constant) and isinstance(each.value, str) and each not in docs | joined:
            found.append((each.lineno, each.col_offset, each.value))
    return [text for _, _, text in sorted(found)]


def command_in(text):
    """The command that the words after `aitia` name, or none."""
    words = re.split(r"[\s`]+", text.strip())
    return next((name for name in (" ".join(words[:2]), words[0]) if name in OPTIONS), None)


def named_options(text):
    """Each option in a text, with the program before it and the command of aitia that this names."""
    programs = [
        (found.start(), found[1], command_in(text[found.end() :])) for found in _PROGRAM.finditer(text)
    ]
    for option in _OPTION.finditer(text):
        before = [each for each in programs if each[0] < option.start()]
        yield option[0], *(before[-1][1:] if before else (None, None))


FILES = sorted(path for path in SOURCE.rglob("*.py"))
FUNCTIONS = [
    (path, node)
    for path in FILES
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.FunctionDef)
]


def test_the_library_names_an_option_only_after_its_command():
    """For the library cannot know which command runs; it names settings in backquotes (see `in_options`)."""
    seen = 0
    for path, node in FUNCTIONS:
        if "cli" in path.relative_to(SOURCE).parts:
            continue
        for option, program, command in named_options("\n".join(texts(node))):
            place = f"{path.name}:{node.lineno} {node.name}: {option}"
            assert program is not None, f"{place}: of which command? Name the setting in backquotes instead"
            if program == "aitia":
                assert command is not None, f"{place}: no such command"
                assert option in OPTIONS[command], f"{place}: `aitia {command}` has no such option"
                seen += 1
    assert seen > 5


def callers():
    """function of the command line -> the commands that reach it through functions of the command line."""
    calls = {}
    for path, node in FUNCTIONS:
        if "cli" in path.relative_to(SOURCE).parts:
            names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            calls.setdefault(node.name, set()).update(names - {node.name})
    own = {command.callback.__wrapped__.__name__: name for name, command in COMMANDS.items()}
    reached = {}
    for function, name in own.items():
        todo, seen = [function], set()
        while todo:
            each = todo.pop()
            if each in calls and each not in seen:
                seen.add(each)
                reached.setdefault(each, set()).add(name)
                todo.extend(calls[each])
    return reached


def test_the_command_line_names_options_of_its_own():
    reached, seen = callers(), 0
    for path, node in FUNCTIONS:
        if "cli" not in path.relative_to(SOURCE).parts:
            continue
        body = ast.Module(body=node.body, type_ignores=[])
        for option, program, command in named_options("\n".join(texts(body))):
            for name in {command} if program == "aitia" else reached.get(node.name, set()):
                assert option in OPTIONS[name], f"{path.name} {node.name}: `aitia {name}` has no {option}"
                seen += 1
    assert seen > 10


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_names_options_that_are_there(name):
    command = COMMANDS[name]
    for text in (command.help, *(getattr(each, "help", None) for each in command.params)):
        for option, program, other in named_options(text or ""):
            assert option in OPTIONS[other if program == "aitia" and other else name], (name, option)


def test_every_command_that_a_text_names_is_there():
    groups = {name.split()[0] for name in COMMANDS}
    for path in FILES:
        for text in [*texts(ast.parse(path.read_text(encoding="utf-8")))]:
            for found in re.finditer(r"`aitia ([a-z-]+(?: [a-z-]+)?)", text):
                assert command_in(found[1]) or found[1] in groups, f"{path.name}: aitia {found[1]}"


def test_settings_in_messages_are_options_of_some_command():
    every = {option.removeprefix("--").replace("-", "_") for each in OPTIONS.values() for option in each}
    named, given = set(), set()
    for _, function in FUNCTIONS:
        for node in ast.walk(function):
            if isinstance(node, ast.Raise):
                found = [each for text in texts(node) for each in _SETTING.finditer(text)]
                named |= {each[1] for each in found}
                given |= {each[1] for each in found if each[2]}
    assert {"truncate", "site", "data_set"} <= named & every
    assert {"on_error", "dtype", "max_length"} <= given <= every


def test_settings_become_options_of_the_command_that_runs():
    message = "have it cut: `truncate`, or leave it out: `on_error=skip`, in `no_such_setting`"
    assert in_options(message, ["fit-curvature", "--model", "x"]) == (
        "have it cut: --truncate, or leave it out: --on-error skip, in `no_such_setting`"
    )
    assert in_options(message, ["concept", "fit"]).startswith("have it cut: --truncate")
    assert in_options(message, ["attribute", "c.yaml"]) == message


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_commands_that_read_rows_name_their_limits_alike(name):
    """Whoever has one of the three options has all, but for commands that cut nothing."""
    three = {"--max-length", "--truncate", "--on-error"}
    if name == "explore":  # which reads the rows of a store, as they were cut for its scan
        return
    if name not in ("curate", "evaluate-ranking"):
        assert not OPTIONS[name] & three or three <= OPTIONS[name]
    if "--model" in OPTIONS[name] and name != "init":
        assert three <= OPTIONS[name]


def test_the_commands_in_a_report_make_the_same_store_again(desk, tmp_path, capsys):
    from aitia.attribution import ActivationStore, rank, scan
    from aitia.attribution.ranking.reporting import reproduce_commands
    from aitia.concepts import load_concept
    from aitia.models import load_model

    model = load_model(desk / "model", device="cpu", dtype="float32")
    settings = {"max_length": 60, "truncate": True, "max_batch_tokens": 512, "seed": 3}
    (tmp_path / "data.jsonl").write_text((desk / "data.jsonl").read_text() + "{\n")
    store = scan(
        model,
        tmp_path / "data.jsonl",
        sites=["resid_post.1"],
        out=tmp_path / "store",
        on_error="skip",
        **settings,
    )
    ranking = rank(
        store, load_concept(desk / "c.concept.safetensors"), method="vector-filter", random_controls=0
    )
    lines = reproduce_commands(ranking).split("\n\n")[0].replace("\\\n", "").splitlines()
    for line in lines:
        words = [word.replace("FILE.concept", f"{desk}/c.concept") for word in shlex.split(line)[1:]]
        place = words.index("--out") + 1
        words[place] = str(tmp_path / f"again-{words[0]}.parquet")
        if words[0] == "rank":
            words[words.index("--store") + 1] = str(tmp_path / "again-scan.parquet")
            words[words.index("--report") + 1] = str(tmp_path / "report.html")
        assert run(words) == 0, capsys.readouterr().err
    again = ActivationStore.open(tmp_path / "again-scan.parquet")
    assert again.manifest["settings"] == store.manifest["settings"]
    assert again.manifest["data"] == store.manifest["data"]
