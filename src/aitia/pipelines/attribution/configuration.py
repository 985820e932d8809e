"""The configuration of `aitia attribute`: one YAML file, checked before anything runs.

Relative paths are read from the folder of the configuration file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from aitia.attribution import NullSettings, ScanSettings, SliceSettings
from aitia.attribution.gradients import CurvatureSettings, Damping
from aitia.attribution.influence import SolveSettings
from aitia.attribution.ranking import RANDOM_CONTROLS, ROWS_SHOWN
from aitia.attribution.scorers import DEFAULT_METHOD
from aitia.attribution.slices import SMALLEST_CONTROLS
from aitia.concepts import (
    DEFAULT_POOLING,
    DEFAULT_RECIPE,
    TOKENS_DESCRIPTION,
    ChosenTokens,
    Recipe,
    SaeSettings,
)
from aitia.engine import Engine
from aitia.errors import AitiaError, UnreadableError, reason_of
from aitia.files import address_of, in_words
from aitia.pipelines.attribution.slices import CONTROLS_HELP, SLICES_SHOWN
from aitia.pipelines.parts import Part, known_at, nearest, part_of, whole
from aitia.records import ReadingSettings
from aitia.records.losses import LossSettings

Seed = Annotated[int, Field(ge=0, lt=2**31, description="Seed of everything random.")]
C = TypeVar("C", bound=Part)
_LARGEST = 1_000_000


class ModelPart(Part):
    """Which model to attribute: as a rule the fine-tuned one."""

    name: str = Field(description="Hub id, folder, or .gguf file.")
    adapter: str | None = Field(None, description="Folder of a PEFT adapter.")
    device: str | None = Field(None, description="cpu, cuda, mps or auto; default: the best there is.")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Precision of the weights; default: the model's own."
    )
    download: bool = Field(False, description="Allow fetching from the hub.")


class CutPart(Part):
    """Which rows are too long, and what happens to those that cannot be used."""

    on_error: Annotated[
        Literal["stop", "skip"], Field(description="Stop at a row that cannot be used, or skip it.")
    ] = "stop"
    max_length: Annotated[
        int, Field(ge=0, description="Longest row in tokens; 0 for the model's context.")
    ] = 0
    truncate: Annotated[bool, Field(description="Cut longer rows instead of refusing them.")] = False

    @property
    def cutting(self) -> dict[str, Any]:
        """As the library takes it (`aitia.models.in_tokens`)."""
        return {"max_length": self.max_length, "truncate": self.truncate, "on_error": self.on_error}


class ReadingPart(part_of(ReadingSettings)):
    """How rows are read."""


class LossPart(part_of(LossSettings)):
    """What training does with a row."""


class DataPart(ReadingPart, LossPart, CutPart):
    """The training data."""

    path: Path = Field(
        description="JSONL, JSON, CSV, Parquet, or a saved datasets folder; the address of such a file; or a pattern "
        "of files."
    )
    label: str | None = Field(None, description="A true-or-false column to measure the methods against.")


class ConceptPart(ReadingPart, CutPart):
    """A concept file, or the texts to fit one to, and how these are read and cut."""

    file: Path | None = Field(None, description="A .concept.safetensors file.")
    name: Annotated[str, Field(description="Name of the concept, for people.")] = "concept"
    positive: Path | None = Field(None, description="Texts that show the concept.")
    negative: Path | None = Field(None, description="Texts that do not.")
    recipe: Recipe = Field(DEFAULT_RECIPE, description="Method that fits the direction.")
    sites: tuple[str, ...] = Field((), description="Where to look; default: all sites.")
    tokens: ChosenTokens = Field("auto", description=TOKENS_DESCRIPTION)
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_of_both(self) -> ConceptPart:
        texts = self.positive is not None and self.negative is not None
        if (self.file is not None) == texts or (self.positive is None) != (self.negative is None):
            raise ValueError("give either file, or both positive and negative")
        return self


class ScanPart(part_of(ScanSettings, skip=("sites", "max_length", "truncate"))):
    """What to keep of each row. The sites are the concept's, and the rows are cut as `data` says."""


class CurvaturePart(part_of(CurvatureSettings, skip=("site", "seed", "max_length", "truncate"))):
    """The curvature for the influence methods: a file, or how to fit it."""

    file: Annotated[Path | None, Field(description="As `aitia fit-curvature` wrote it.")] = None
    cache_gigabytes: Annotated[
        float,
        Field(
            ge=0, description="With the empirical Fisher: run the model once if its factors fit into this."
        ),
    ] = 4.0


DAMPING_KEYS = {"value": "damping", "unit": "damping_unit"}


class RankPart(
    part_of(Damping, keys=DAMPING_KEYS), part_of(SolveSettings), part_of(NullSettings), ReadingPart, CutPart
):
    """The methods of ranking, and how the queries are read and cut."""

    method: Annotated[str, Field(description="Method that decides the order.")] = DEFAULT_METHOD
    compare: Annotated[
        tuple[str, ...],
        Field(description="Further methods to show, beside those that the store's activations allow."),
    ] = ()
    queries: Annotated[Path | None, Field(description="Texts to measure, for the influence methods.")] = None
    run: Annotated[
        Path | None,
        Field(
            description="Folder of the recorded training run, for replay, checkpoint-influence and tracin."
        ),
    ] = None
    curvature: CurvaturePart = CurvaturePart()
    random_controls: Annotated[
        int, Field(ge=0, description="Null directions to draw and score as controls.")
    ] = RANDOM_CONTROLS
    shuffled_controls: Annotated[
        int | None,
        Field(
            ge=0,
            description="Directions fitted to shuffled labels to score as controls, at most; default: all that the "
            "concept keeps.",
        ),
    ] = None
    shown: Annotated[int, Field(ge=1, description="Rows shown from each end of the ranking.")] = ROWS_SHOWN
    seed: Seed = 0


class CuratePart(Part):
    """What to take out of the data."""

    drop: Annotated[float, Field(ge=0, le=1, description="Share of the rows to take out.")] = 0.1
    end: Annotated[Literal["top", "bottom"], Field(description="End of the ranking that is taken out.")] = (
        "top"
    )


class SlicesPart(part_of(SliceSettings, skip=("seed",)), part_of(SaeSettings, skip=("seed",))):
    """Kinds of rows: slices by the features of a sparse autoencoder."""

    sae: Annotated[
        Path | None,
        Field(description="Its folder or file; default: train one on the data, at the concept's site."),
    ] = None
    site: Annotated[str | None, Field(description="Where it lives, if its files do not say.")] = None
    pooling: Literal["share", "mean", "max"] = Field(
        DEFAULT_POOLING, description="Pools a feature over a row's response tokens."
    )
    controls: Annotated[int | None, Field(ge=SMALLEST_CONTROLS, description=CONTROLS_HELP)] = None
    columns: Annotated[tuple[str, ...], Field(description="Columns of the data to test slices against.")] = ()
    strata: Annotated[str | None, Field(description="Compare rows within the values of this column.")] = None
    shown: Annotated[int, Field(ge=1, description="Slices from either end to label and show.")] = SLICES_SHOWN


class AttributeConfiguration(Part):
    """Everything `aitia attribute` needs to know."""

    out: Path = Field(description="Folder for the results.")
    model: ModelPart
    data: DataPart
    concept: ConceptPart
    scan: ScanPart = ScanPart()
    rank: RankPart = RankPart()
    curate: CuratePart = CuratePart()
    engine: Annotated[Engine, whole] = Engine()
    slices: Annotated[SlicesPart | None, Field(description="Leave it out to rank rows alone.")] = None


def read_configuration(path: Path | str) -> AttributeConfiguration:
    """Read and check a configuration file; paths in it become absolute.

    Returns:
        The configuration, checked.

    Raises:
        AitiaError: the file is missing, is not YAML, or a field is wrong; each wrong field is named.
    """
    return parse_configuration(path, AttributeConfiguration, "model, data, concept and out")


def parse_configuration(
    path: Path | str, kind: type[C], keys: str, changes: Mapping[str, Mapping[str, Any]] | None = None
) -> C:
    """Read a YAML file into a configuration of some kind; paths in it, and its model's, become absolute.

    A file that a run wrote says where (`written_in`). Where it lies in another folder now, its paths are taken from
    there if something is there, else as they were written.

    Args:
        path: the file.
        kind: of configuration.
        keys: what it must have, in words.
        changes: part -> fields that take the place of the file's own.

    Returns:
        The configuration, checked.

    Raises:
        AitiaError: the file is missing, is not YAML, or a field is wrong; each wrong field is named.
        UnreadableError: it cannot be read.
    """
    path, content = Path(path), read_mapping(path, keys)
    for name, fields in (changes or {}).items():
        if isinstance(content.get(name), dict):
            content[name] = content[name] | dict(fields)
    folder, written_in = path.resolve().parent, content.pop("written_in", None)
    if not isinstance(written_in, str | None):
        raise AitiaError(f"{path}: written_in: a folder is wanted here")
    try:
        return _placed(kind.model_validate(content), folder, written_in)
    except ValidationError as error:
        wrong = [_in_words(each, kind) for each in error.errors()]
        raise AitiaError(f"{path}: {'; '.join(wrong)}") from error


def read_mapping(path: Path | str, keys: str) -> dict[str, Any]:
    """What a configuration file says, unchecked.

    Args:
        path: the file.
        keys: what it must have, in words.

    Returns:
        Key -> value.

    Raises:
        AitiaError: the file is missing, or is not YAML of a mapping.
        UnreadableError: it cannot be read.
    """
    import yaml

    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise AitiaError(f"{path}: {path.stat().st_size} bytes are too many for a configuration")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AitiaError(f"{path}: no such configuration file") from None
    except RecursionError:
        raise AitiaError(f"{path}: nested too deeply for a configuration") from None
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read: {in_words(error)}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise AitiaError(f"{path}: not valid YAML: {reason_of(error)}") from error
    if not isinstance(content, dict):
        raise AitiaError(f"{path}: a configuration is a mapping with the keys {keys}")
    return content


def _in_words(item: Mapping[str, Any], kind: type[Part]) -> str:
    """Where in a kind of configuration something is wrong, and what."""
    where, about = ".".join(map(str, item["loc"])) or "file", item.get("ctx", {})
    match item["type"]:
        case "extra_forbidden":
            *place, name = item["loc"]
            return f"{where}: is not known here; {nearest(str(name), known_at(kind, place))}"
        case "missing":
            return f"{where}: is missing; give it"
        case "model_type":
            return f"{where}: a mapping is wanted here, of fields and their values"
        case "value_error":
            return f"{where}: {about['error']}"
        case "literal_error":
            among = about["expected"].replace("'", "").replace(" or ", ", ")
            return f"{where} {item['input']!r}: choose among {among}"
        case "greater_than_equal" | "greater_than" | "less_than_equal" | "less_than" as bound:
            words = {"greater_than_equal": "at least", "greater_than": "above", "less_than": "below"}
            limit = next(iter(about.values()))
            return f"{where} {item['input']}: must be {words.get(bound, 'at most')} {limit:,}"
        case "setting":
            return f"{where} {item['input']}: {item['msg']}"
    return f"{where}: {item['msg']}"


def write_configuration(configuration: Part, folder: Path | None = None) -> str:
    """The configuration as YAML text.

    Args:
        configuration: it.
        folder: where the text is to be kept, if it is; the folder may be moved later. Paths become absolute.

    Returns:
        YAML, which `read_configuration` reads.
    """
    import yaml

    if folder is None:
        return yaml.safe_dump(configuration.model_dump(mode="json"), sort_keys=False)
    content = _placed(configuration, Path.cwd()).model_dump(mode="json")
    return yaml.safe_dump(content | {"written_in": str(folder.resolve())}, sort_keys=False)


def _placed(configuration: C, folder: Path, written_in: str | None = None) -> C:
    """The configuration with its paths, and those of its model and adapter, taken from a folder."""
    found = absolute(configuration, folder, written_in)
    model: Any = found.model  # type: ignore[attr-defined]
    named = {
        name: place(getattr(model, name), folder, written_in)
        for name in ("name", "adapter")
        if hasattr(model, name)
    }
    return found.model_copy(update={"model": model.model_copy(update=named)})


def place(name: str | None, folder: Path, written_in: str | None = None) -> str | None:
    """A model's name: a path that exists is taken from the file's folder; anything else is a hub id."""
    try:
        if name is not None and Path(name).is_absolute():
            return str(_found(Path(name), folder, written_in))
        return str(folder / name) if name is not None and (folder / name).exists() else name
    except (OSError, ValueError):  # no path at all
        return name


def _found(path: Path, folder: Path, written_in: str | None) -> Path:
    """Where a path leads from a folder, if the file that says it was written in another."""
    if written_in is None or not path.is_absolute() or Path(written_in) == folder:
        return folder / path
    moved = Path(os.path.normpath(folder / os.path.relpath(path, written_in)))
    return moved if path.is_relative_to(written_in) or moved.exists() else path


def absolute(part: C, folder: Path, written_in: str | None = None) -> C:
    """The part with every path in it taken from a folder; addresses stay."""

    def join(value: Any) -> Any:
        if isinstance(value, Path):
            return value if address_of(value) else _found(value, folder, written_in)
        if isinstance(value, Part):
            return absolute(value, folder, written_in)
        if isinstance(value, dict):
            return {name: join(each) for name, each in value.items()}
        return value

    return part.model_copy(update={name: join(value) for name, value in part})
