"""Numbers and words that no option expects, given to every option of every command: none is passed over."""

import typing

import pytest
from cli.conftest import commands, paths_of

from aitia.cli.endings import run

COMMANDS = commands()
ANY_WORD = {"--name", "--column", "--strata", "--label", "--labeller", "--base-url", "--address"}
WHOLE = ("-1", "9223372036854775808")
COSTLY = {
    "--features",
    "--epochs",
    "--steps",
    "--width",
    "--embedding",
    "--permutations",
}  # not in huge numbers
MAY_BE_HUGE = {
    "--max-batch-tokens",
    "--rows",
    "--layer-stride",
    "--shown",
    "--smallest",
    "--max-tokens",
    "--drop-slice",
    "--shard-rows",
    "--on-policy-response-tokens",
    "--on-policy-responses",
    "--dead-after",
    "--evaluate-every",
    "--checkpoint-every",
    "--fewest",
    "--shuffled-controls",
}


def cases():
    for name, command in COMMANDS.items():
        hints = typing.get_type_hints(command.callback)
        paths = {path for path, _ in paths_of(command)}
        for parameter in command.params:
            option, kind = parameter.opts[0], hints[parameter.name]
            kinds = {kind, *typing.get_args(kind)}
            if parameter.param_type_name == "argument" or option in paths or bool in kinds:
                continue
            if int in kinds:
                for value in WHOLE:
                    if value == "-1" or option not in COSTLY:
                        yield name, option, value
            elif float in kinds:
                yield from ((name, option, value) for value in ("-1", "nan", "inf"))
            elif option not in ANY_WORD:
                yield name, option, "nonsense"


CASES = list(cases())


def test_there_are_many():
    assert len(CASES) > 100


@pytest.mark.parametrize(("name", "option", "value"), CASES)
def test_a_value_that_makes_no_sense_is_refused(name, option, value, line_of, desk, capsys):
    line = line_of(name)
    if option in line:
        line[line.index(option) + 1] = value
    else:
        line += [option, value]
    if name in ("rank", "slices") and option == "--damping":
        line += ["--method", "influence", "--queries", str(desk / "data.jsonl")]
    status = run(line)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    huge = value == WHOLE[1] and (option in MAY_BE_HUGE or option == "--workers")
    assert status == 2 or (huge and status in (0, 1)), (status, said)


@pytest.mark.parametrize(
    ("name", "extra", "named"),
    [
        ("rank", ["--queries", "@data.jsonl"], "would pass over --queries"),
        ("slices", ["--curvature", "@c"], "would pass over --curvature"),
        ("rank", ["--max-length", "9", "--truncate"], "would pass over --max-length, --truncate"),
        ("slices", ["--on-error", "skip"], "would pass over --on-error"),
        ("slices", ["--base-url", "http://127.0.0.1:1"], "--base-url is the endpoint of a --labeller"),
        ("evaluate", ["--behaviour", "x"], "only the folder of a run has behaviours"),
    ],
)
def test_an_option_that_would_be_passed_over_is_refused(name, extra, named, line_of, desk, capsys):
    assert run([*line_of(name), *(word.replace("@", f"{desk}/") for word in extra)]) == 2
    assert named in capsys.readouterr().err
