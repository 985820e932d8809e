"""The commands `aitia network train | explain | show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from aitia.cli.options import Application, JsonOption, answer, app, file_out, folder_out, with_settings
from aitia.errors import AitiaError
from aitia.group_networks import InterpretationSettings, TrainingSettings

network_app = Application(
    no_args_is_help=True,
    help="Train networks that multiply in a finite group, and explain them.",
    rich_markup_mode="markdown",
)

NetworkArgument = Annotated[Path, typer.Argument(help="A .network.safetensors file.")]
app.add_typer(network_app, name="network")


def _seeds(text: str) -> list[int]:
    """`7` is one seed, `0:100` those from 0 to 99."""
    start, _, stop = text.partition(":")
    try:
        found = list(range(int(start), int(stop) if stop else int(start) + 1))
    except ValueError:
        raise AitiaError(f"--seeds {text}: give one seed (7) or a range (0:100)") from None
    if not found or found[0] < 0:
        raise AitiaError(f"--seeds {text}: there is no seed in that range")
    return found


@network_app.command("train")
@with_settings(TrainingSettings)
def train_command(
    *,
    group: Annotated[
        str, typer.Option(help="S5, A5, D5, Z97, Q8, PSL(2,7), A5xZ2, or a .json Cayley table.")
    ],
    out: Annotated[Path, folder_out("Folder for the networks and learning curves.")],
    seeds: Annotated[str, typer.Option(help="One seed (7) or a range (0:100).")] = "0",
    settings: TrainingSettings,
    as_json: JsonOption = False,
) -> None:
    """Train a network for each seed, many at once. Stopped at any moment and run again, it goes on.

    Example: `aitia network train --group S5 --seeds 0:100 --out runs/s5`
    """
    from aitia.group_networks import load_network, train_networks

    paths = train_networks(_group(group), _seeds(seeds), out, settings)
    accuracies = [load_network(path).accuracy for path in paths]
    perfect = sum(value == 1 for value in accuracies)
    found = {
        "networks": [str(path) for path in paths],
        "accuracy": accuracies,
        "fully_accurate": perfect,
    }
    text = f"{len(paths)} networks on {group} in {out}; {perfect} right on all inputs"
    answer(found, as_json, text if len(paths) > 1 else f"{text} (accuracy {accuracies[0]:.4f}): {paths[0]}")


@network_app.command("show")
def show_command(network: NetworkArgument, as_json: JsonOption = False) -> None:
    """Show what a network file holds, and on how many of all inputs it is right.

    Example: `aitia network show runs/s5/seed-0000.network.safetensors`
    """
    from aitia.group_networks import load_network

    loaded = load_network(network)
    shown = {
        "network": str(network),
        "group": loaded.group.name,
        "order": loaded.group.order,
        "neurons": loaded.width,
        "inputs": loaded.group.order**2,
        "accuracy": loaded.accuracy,
        "smallest_margin": float(loaded.margins.min()),
        "training": dict(loaded.training),
    }
    answer(shown, as_json, "\n".join(f"{key}: {json.dumps(value)}" for key, value in shown.items()))


@network_app.command("explain")
@with_settings(InterpretationSettings)
def explain_command(
    *,
    network: NetworkArgument,
    out: Annotated[Path | None, file_out("HTML page to write, with pictures.")] = None,
    scorecard: Annotated[
        Path | None,
        file_out("Hold the hypothesis against its baselines, and write the card (.html, .md or .json)."),
    ] = None,
    settings: InterpretationSettings,
    as_json: JsonOption = False,
) -> None:
    """Find a network's circuits, measure how much they explain, and draw them.

    Exit status 1: the network is not explained.

    Example: `aitia network explain runs/s5/seed-0000.network.safetensors --out seed-0000.html`
    """
    from aitia.adapters import group_network_explanations
    from aitia.explanations import evaluate
    from aitia.group_networks import interpret, load_network, summarise, write_page

    found = interpret(load_network(network), settings)
    summary = summarise(found)
    if out is not None:
        write_page(
            found, out, summary=summary, curve=_curve(network), title=f"{summary.group}: {network.name}"
        )
    lines = [f"{network.name}: {summary.verdict} (accuracy {summary.accuracy:.4f})"]
    lines += [
        f"  {each.irrep} on {each.left_points} x {each.right_points} points: {each.neurons} neurons, "
        f"{each.weight:.1%} of the weight, {each.pairs} of {each.possible_pairs} pairs, "
        f"constancy of the shared vector {each.constancy:.3f}"
        for each in summary.circuits
    ]
    lines += [
        f"  unexplained: {summary.unexplained} neurons, {summary.unexplained_weight:.1%} of the weight",
        f"  logits explained: {summary.hidden_explains:.2%} by the hidden layer's form, {summary.coset_explains:.1%} "
        f"with the unembedding's, {summary.ideal_explains:.1%} by the sum of rho-sets",
    ]
    if not found.circuits:
        scorecard = None  # there is no hypothesis to judge
    if scorecard is not None:
        ours, *baselines = group_network_explanations(found)
        evaluate(ours, baselines=baselines).write(scorecard)
    written = {"page": out, "scorecard": scorecard}
    lines += [f"  {name}: {path}" for name, path in written.items() if path is not None]
    plain = summary.plain() | {"network": str(network)}
    plain |= {name: None if path is None else str(path) for name, path in written.items()}
    answer(plain, as_json, "\n".join(lines))
    if not summary.explained:
        raise typer.Exit(1)


def _group(name: str) -> Any:
    """A named group, or one from a JSON file that holds its Cayley table as rows."""
    from aitia.finite_groups import group_from_table, named_group

    if not name.endswith(".json"):
        return named_group(name)
    path = Path(name)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return group_from_table(rows, name=path.stem)
    except FileNotFoundError:
        raise AitiaError(f"{path}: no such file") from None
    except (ValueError, TypeError) as error:
        raise AitiaError(f"{path}: not a Cayley table as rows of integers: {error}") from error
    except AitiaError as error:
        raise type(error)(f"{path}: {error}") from error


def _curve(network: Path) -> dict[str, list[float]] | None:
    """The learning curve that training left beside a network, if there is one that can be read."""
    from aitia.group_networks import CURVE_SUFFIX
    from aitia.group_networks import NETWORK_SUFFIX as SUFFIX

    path = network.with_name(network.name.removesuffix(SUFFIX) + CURVE_SUFFIX)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
