"""Explanations as files: `*.explanation.json`, which hold tables and numbers, and nothing that is executed.

An explanation is either a table of predictions, or a graph: variables that are each a table over their parents,
the last of which is the answer. The model is either recorded (its outputs, input by input) or a small network given
by its weights; only the latter can be intervened on. `docs/schemas/explanation.schema.json` describes the form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from aitia.errors import ExplanationError
from aitia.explanations import (
    Alignment,
    Certificate,
    Explanation,
    FunctionModel,
    Phenomenon,
    Premise,
    Variable,
)
from aitia.explanations.core import REAL_BITS, Tap
from aitia.files import read_json
from aitia.pipelines.evaluation.explanation_forms import (
    AlignmentPart,
    ExplanationFile,
    ModelPart,
    Node,
    PhenomenonPart,
    PremisePart,
)

_Form = TypeVar("_Form", bound=BaseModel)


def read_explanation(path: Path | str) -> Explanation:
    """Read a `*.explanation.json` file. Nothing in it is executed.

    Returns:
        The explanation, with the phenomenon that its file describes.

    Raises:
        ExplanationError: the file is missing or does not have the form; the message says where.
    """
    path = Path(path)
    content = _parse(path, ExplanationFile)
    part = content.phenomenon
    if isinstance(part, str):
        beside = path.parent / part
        try:
            outside = beside.resolve().parent != path.resolve().parent
        except (OSError, ValueError):  # no path at all
            outside = True
        if outside:
            raise ExplanationError(f"{path}: phenomenon {part!r} must be a file in the same folder")
        part = _parse(beside, PhenomenonPart)
    try:
        return _explanation(content, _phenomenon(part))
    except ExplanationError as error:
        raise ExplanationError(f"{path}: {error}") from error
    except (ValueError, IndexError) as error:
        raise ExplanationError(f"{path}: numbers that do not fit together: {error}") from error


def _parse(path: Path, form: type[_Form]) -> _Form:
    try:
        return form.model_validate(read_json(path))
    except FileNotFoundError:
        raise ExplanationError(f"{path!s:.200}: no such file") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(each) for each in first["loc"]) or "the whole"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ExplanationError(f"{path}: {where}: {first['msg']}{more}") from None
    except ValueError as error:
        raise ExplanationError(f"{path}: not JSON: {error}") from None


def _array(rows: list[list[float]]) -> np.ndarray:
    array = np.array(rows, dtype=float)
    return array.astype(int) if array.size and (array == array.astype(int)).all() else array


def _phenomenon(part: PhenomenonPart) -> Phenomenon:
    inputs = _array(part.inputs)
    model, above = part.model, part.model.above
    observable: dict[str, Any] = (
        {}
        if above is None
        else {"observable": lambda outputs: (outputs.reshape(len(outputs)) > above).astype(int)}
    )
    answers = (
        None
        if part.correct is None
        else {row.tobytes(): label for row, label in zip(inputs, part.correct, strict=True)}
    )

    def correct(given: np.ndarray, labels: np.ndarray) -> np.ndarray:
        assert answers is not None
        return np.array(
            [answers[row.tobytes()] == label for row, label in zip(given, labels, strict=True)], dtype=float
        )

    def arrays(value: list[Any] | None) -> np.ndarray | None:
        return None if value is None else np.array(value)

    return Phenomenon(
        name=part.name,
        model=_recorded(model, inputs) if model.layers is None else _network(model),
        inputs=inputs,
        outcomes=part.outcomes,
        weights=arrays(part.weights),
        fit=arrays(part.fit),
        test=arrays(part.test),
        null=arrays(part.null),
        cases=arrays(part.cases),
        sources=arrays(part.sources),
        beyond=None if part.beyond is None else _array(part.beyond).astype(inputs.dtype),
        metric=None if answers is None else correct,
        exhaustive=part.exhaustive,
        seed=part.seed,
        **observable,
    )


def _recorded(part: ModelPart, inputs: np.ndarray) -> FunctionModel:
    assert part.recorded is not None
    labels = {row.tobytes(): label for row, label in zip(inputs, part.recorded, strict=True)}

    def look_up(_parameters: Mapping[str, Any], given: np.ndarray, _site: Tap) -> np.ndarray:
        try:
            return np.array([labels[row.tobytes()] for row in given])
        except KeyError:
            raise ExplanationError(
                f"model {part.name!r} is a record; it has no answer to other inputs"
            ) from None

    return FunctionModel(name=part.name, function=look_up)


def _network(part: ModelPart) -> FunctionModel:
    assert part.layers is not None
    activations = {"identity": lambda x: x, "relu": lambda x: np.maximum(x, 0.0), "tanh": np.tanh}
    layers = part.layers
    parameters = {f"{i}.weights": np.array(each.weights) for i, each in enumerate(layers)}
    parameters |= {f"{i}.bias": np.array(each.bias) for i, each in enumerate(layers) if each.bias is not None}

    def run(weights: Mapping[str, Any], inputs: np.ndarray, site: Tap) -> np.ndarray:
        value = inputs.astype(float)
        for i, each in enumerate(layers):
            value = activations[each.activation](
                value @ weights[f"{i}.weights"] + weights.get(f"{i}.bias", 0.0)
            )
            value = site(each.site, value) if each.site else value
        return value

    sites = tuple(each.site for each in layers if each.site)
    return FunctionModel(name=part.name, function=run, parameters=parameters, sites=sites)


def _stated(content: ExplanationFile, phenomenon: Phenomenon) -> ExplanationFile:
    """The file's content; where it states no premises, its tables are what it assumes, and are charged for."""
    if content.premises:
        return content
    if content.graph is not None:
        stated = [
            PremisePart(
                name=each.name, bits=len(each.table) * float(np.log2(_values(each))), governs=[each.name]
            )
            for each in content.graph
        ]
    else:
        k = len(phenomenon.outcomes)
        stated = [
            PremisePart(
                name=f"row {i}",
                bits=float(np.log2(k)) if isinstance(row, int) else (k - 1) * REAL_BITS,
                governs=[i],
            )
            for i, row in enumerate(content.predictions or ())
            if row is not None
        ]
    return content.model_copy(update={"premises": stated})


def _values(node: Node) -> int:
    return node.values or len(set(node.table.values()))


def _explanation(content: ExplanationFile, phenomenon: Phenomenon) -> Explanation:
    content = _stated(content, phenomenon)
    premises = {
        each.name: Premise(
            kind=each.kind, statement=each.statement, bits=each.bits, variants=(), serves=each.serves
        )
        for each in content.premises
    }
    common: dict[str, Any] = {
        "name": content.name,
        "phenomenon": phenomenon,
        "premises": premises,
        "inert": content.inert,
        "certificate": None
        if content.certificate is None
        else Certificate(**content.certificate.model_dump()),
        "log_prior": content.log_prior,
        "model_fingerprint": content.model_fingerprint,
    }
    if content.graph is None:
        return Explanation(program=_table_program(content, phenomenon), code="", **common)
    nodes = content.graph
    names = {each.name for each in nodes}
    variables = {
        each.name: Variable(
            values=_values(each),
            parents=[parent for parent in each.parents if parent in names],
            alignment=None if each.aligned is None else _alignment(each.aligned),
        )
        for each in nodes[:-1]
    }
    code = json.dumps([each.model_dump(exclude={"aligned"}) for each in nodes], separators=(",", ":"))
    return Explanation(program=_graph_program(content), variables=variables, code=code, **common)


def _table_program(content: ExplanationFile, phenomenon: Phenomenon) -> Any:
    assert content.predictions is not None
    k, rows = len(phenomenon.outcomes), content.predictions
    if len(rows) != len(phenomenon.inputs):
        raise ExplanationError(f"{len(rows)} predictions for {len(phenomenon.inputs)} inputs")
    for i, row in enumerate(rows):
        if isinstance(row, int) and not 0 <= row < k:
            raise ExplanationError(f"prediction {i} is label {row}; there are {k} outcomes")
        if isinstance(row, list) and len(row) != k:
            raise ExplanationError(f"prediction {i} has {len(row)} probabilities for {k} outcomes")
    governed = {row: each.name for each in content.premises for row in each.governs if isinstance(row, int)}
    # What is said lies in the arguments; the function that reads them is the library's.
    return partial(_look_up, phenomenon.inputs, rows, governed, k)


def _look_up(
    known: np.ndarray,
    rows: list[Any],
    governed: Mapping[int, str],
    k: int,
    premises: Mapping[str, Any],
    inputs: np.ndarray,
    _variable: Tap,
) -> np.ndarray:
    """The rows of a table of predictions, but for those whose premise is gone."""
    places, nothing = {key.tobytes(): i for i, key in enumerate(known)}, np.full(k, np.nan)
    answers = []
    for key in inputs:
        i = places.get(key.tobytes(), -1)
        row = None if i < 0 or (i in governed and governed[i] not in premises) else rows[i]
        answers.append(nothing if row is None else np.eye(k)[row] if isinstance(row, int) else np.array(row))
    return np.array(answers)


def _graph_program(content: ExplanationFile) -> Any:
    nodes = content.graph
    assert nodes is not None
    known: set[str] = set()
    for each in nodes:
        if unknown := [p for p in each.parents if p not in known and not p.startswith("input.")]:
            raise ExplanationError(
                f"variable {each.name!r} has parents that come later or never: {', '.join(unknown)}"
            )
        known.add(each.name)
    needs: dict[str, list[str]] = {}
    for premise in content.premises:
        for name in premise.governs:
            if name not in known:
                raise ExplanationError(f"premise {premise.name!r} governs {name!r}, which is no variable")
            needs.setdefault(str(name), []).append(premise.name)

    # What is said lies in the arguments; the function that reads them is the library's, and names cost nothing.
    places = {each.name: i for i, each in enumerate(nodes)}
    tables = []
    for each in nodes:
        parents = [-1 - int(p[6:]) if p.startswith("input.") else places[p] for p in each.parents]
        keys = [[float(part) for part in key.split()] for key in each.table]
        tables.append((each.name, parents, np.array(keys), np.array(list(each.table.values()))))
    return partial(_run_graph, tables, needs)


def _run_graph(
    nodes: list[tuple[str, list[int], np.ndarray, np.ndarray]],
    needs: Mapping[str, list[str]],
    premises: Mapping[str, Any],
    inputs: np.ndarray,
    variable: Tap,
) -> np.ndarray:
    """Each variable from its table over its parents, in order; the last is the answer. -1 - i is input i."""
    values: list[np.ndarray] = []
    answer = np.full(len(inputs), -1)
    for i, (name, parents, keys, results) in enumerate(nodes):
        if any(each not in premises for each in needs.get(name, [])):
            return np.full(len(inputs), -1)  # without what governs it the variable has no value
        columns = [values[each] if each >= 0 else inputs[:, -1 - each] for each in parents]
        rows = np.stack(columns, axis=1) if columns else np.zeros((len(inputs), 0))
        # Rows are compared as they are written in the file, to six digits.
        known = {
            " ".join(f"{each:g}" for each in key): result for key, result in zip(keys, results, strict=True)
        }
        answer = np.array([known.get(" ".join(f"{each:g}" for each in row), -1) for row in rows], dtype=int)
        if i < len(nodes) - 1:
            answer = variable(name, answer)
        values.append(answer)
    return answer


def _alignment(part: AlignmentPart) -> Alignment:
    subspace = None if part.components is None else tuple(part.components)
    common: dict[str, Any] = {"site": part.site, "subspace": subspace, "bits": part.bits}
    if part.at_least is not None:
        least = part.at_least
        return Alignment(read=lambda given: (given[:, 0] >= least).astype(int), **common)
    if part.read == "round":
        return Alignment(
            read=lambda given: np.rint(given[:, 0]).astype(int),
            write=lambda values: np.asarray(values, dtype=float)[:, None],
            **common,
        )
    return Alignment(read=part.read, **common)
