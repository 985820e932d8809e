"""Judging explanations that are kept in files: read them, judge the first beside the others, write the cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from aitia.adapters import certified_explanation
from aitia.errors import AitiaError, CertificateError, ExplanationError
from aitia.explanations import Explanation, Scorecard, Settings, evaluate, load_rubric
from aitia.explanations.metrics import CAUSAL_BY_DIRECTION as DIRECTION
from aitia.group_networks import load_network
from aitia.pipelines.evaluation.explanation_files import read_explanation
from aitia.proofs import check_certificate, load_certificate
from aitia.report import read_document, scorecard_section, write_document

SUFFIX = ".explanation.json"
CERTIFICATE = ".certificate.json"
NETWORK = ".network.safetensors"
SHOWN = (
    "fidelity",
    "probing-agreement",
    "interchange-intervention-accuracy",
    "informativeness",
    "skill",
    "description-length",
)
"""Virtues that are printed; the card has all."""


def evaluate_files(
    paths: Sequence[Path],
    *,
    out: Path | None = None,
    rubric: Path | None = None,
    weights: Sequence[str] = (),
    seed: int = 0,
    behaviour: str | None = None,
    intervene: bool = True,
) -> tuple[Scorecard, dict[str, str]]:
    """Judge the explanation in the first file, with those in the others as its baselines.

    Args:
        paths: `*.explanation.json` files; or one `*.network.safetensors` file with certificates of it; or the
            folder of one run of `aitia counterfactual`, whose rankings are judged by its removals.
        out: the card to write, as .json, .md or .html; or a folder, for all three. For a run: default its folder;
            its report gets the card in any case.
        rubric: thresholds of the grades, default those that aitia ships.
        weights: `virtue=weight`, to add baselines up.
        seed: of everything random.
        behaviour: which of a run's behaviours; default: the first that is not the projection on the concept.
        intervene: of a run whose models are at hand: ablate the concept's direction and steer along it.

    Returns:
        The card, and the files written, by kind.

    Raises:
        ExplanationError: a file is no explanation, or they do not explain the same phenomenon.
        CertificateError: a certificate claims more than is true.
    """
    if not paths:
        raise ExplanationError("give at least one explanation")
    run = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    if run is not None:
        from aitia.pipelines.evaluation.run_explanations import (
            run_explanations,  # its rankings need more than cards do
        )

        hypotheses = run_explanations(run, behaviour=behaviour, intervene=intervene)
        out = run if out is None else out
    elif behaviour is not None:
        raise ExplanationError(f"behaviour {behaviour!r:.50}: only the folder of a run has behaviours")
    else:
        hypotheses = _read(paths)
    first, *baselines = hypotheses
    card = evaluate(first, baselines=baselines, settings=Settings(seed=seed), rubric=load_rubric(rubric))
    if weights:
        card = card.weighed(dict(_weight(text) for text in weights))
    files = {} if run is None else _in_report(card, run)
    if out is None:
        return card, files
    kinds = (
        [out]
        if out.suffix in (".json", ".md", ".html")
        else [out / f"scorecard.{k}" for k in ("json", "md", "html")]
    )
    return card, files | {path.suffix[1:]: str(card.write(path)) for path in kinds}


def _in_report(card: Scorecard, run: Path) -> dict[str, str]:
    """Put the card into the run's own report, in the place of one that was put there before."""
    report = run / "report.html"
    if not report.is_file():
        return {}
    try:
        document = read_document(report)
    except AitiaError as error:
        raise ExplanationError(
            f"{report}: the card cannot be put into it ({error}); run `aitia counterfactual` with the same "
            "configuration again, which writes the report again, or move it away"
        ) from error
    write_document(document.with_section(scorecard_section(card.as_json())), report, keep=True)
    return {"report": str(report)}


def _read(paths: Sequence[Path]) -> list[Explanation]:
    if any(path.name.endswith(CERTIFICATE) for path in paths):
        return _read_certificates(paths)
    if wrong := [path for path in paths if not path.name.endswith(SUFFIX)]:
        raise ExplanationError(
            f"{wrong[0]}: explanations are read from *{SUFFIX} files, or from the folder of one run; those written in "
            "Python go to aitia.evaluate"
        )
    return [read_explanation(path) for path in paths]


def _read_certificates(paths: Sequence[Path]) -> list[Explanation]:
    """Each certificate as a hypothesis of the one network that lies among the paths."""
    networks = [path for path in paths if path.name.endswith(NETWORK)]
    certificates = [path for path in paths if path.name.endswith(CERTIFICATE)]
    if len(networks) != 1 or len(networks) + len(certificates) < len(paths):
        raise ExplanationError(
            f"{certificates[0]}: give the network beside it, one *{NETWORK} file, and certificates of it alone"
        )
    network = load_network(networks[0])
    hypotheses = []
    for path in certificates:
        certificate = load_certificate(path)
        if not (found := check_certificate(network, certificate)):
            raise CertificateError(f"{path}: {found.reason}")
        hypotheses.append(
            replace(certified_explanation(network, certificate), name=path.name.removesuffix(CERTIFICATE))
        )
    return hypotheses


def summary_lines(card: Scorecard) -> list[str]:
    """The card in a few lines, for people."""
    lines = []
    for each in (card, *card.baselines):
        shown = [
            f"{name} {result.value:.3f}"
            for name in (*SHOWN, DIRECTION)
            if (result := each[name]).value is not None
        ]
        lines.append(f"{each.name}: {each.verdict}")
        lines.append(f"  {' '.join(each.summary)}")
        lines.append(f"  {', '.join(shown)}")
        if each.explanation.direction is not None and each[DIRECTION].value is None:
            lines.append(f"  {DIRECTION} {each[DIRECTION].status}: {each[DIRECTION].reason}")
    for pair in card.comparisons():
        barred = f"no dominance: {' and '.join(pair.barred)} did not pass the gate"
        winner = (
            f"{pair.dominates} dominates"
            if pair.dominates
            else barred
            if pair.barred
            else "neither dominates"
        )
        lines.append(
            f"{pair.first} is better in: {', '.join(pair.groups(1)) or 'nothing'}; {pair.second} in: "
            f"{', '.join(pair.groups(-1)) or 'nothing'}; {winner}"
        )
    if card.weighing is not None:
        for name, total in card.weighing.totals.items():
            share = card.weighing.wins[name]
            lines.append(
                f"{name}: {total:.3f} by these weights; it would win under {share:.0%} of all weights"
            )
    return lines


def _weight(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise ExplanationError(f"weight {text!r}: write it as virtue=number") from None
