"""The configuration of `aitia attribute`: one YAML file, checked before anything runs.

Relative paths are read from the folder of the configuration file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aitia.engine import Engine
from aitia.errors import AitiaError, UnreadableError, reason_of
from aitia.files import address_of, in_words


class Part(BaseModel):
    """A part of a configuration: frozen, and without fields that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


Seed = Annotated[int, Field(ge=0, lt=2**31)]
C = TypeVar("C", bound=Part)
_LARGEST = 1_000_000


class EnginePart(Part):
    """Where work is done: in this process, or on the workers of a Ray cluster."""

    name: Literal["local", "ray"] = "local"
    address: Annotated[str, Field(description="Of the cluster: host:port, or auto; empty starts one.")] = ""
    workers: Annotated[int, Field(ge=0, description="Ray workers; 0 for as many as fit.")] = 0
    cpus: Annotated[float, Field(ge=0, description="Processors that a worker asks for.")] = 1.0
    gpus: Annotated[float, Field(ge=0, description="Accelerators that a worker asks for.")] = 0.0

    @model_validator(mode="after")
    def _fits_together(self) -> EnginePart:
        if self.name == "local" and (self.address or self.workers > 1):
            raise ValueError("address and workers belong to engine ray")
        return self

    @property
    def engine(self) -> Engine:
        """As the library takes it."""
        return Engine(**self.model_dump())


class ModelPart(Part):
    """Which model to attribute: as a rule the fine-tuned one."""

    name: str = Field(description="Hub id, folder, or .gguf file.")
    adapter: str | None = Field(None, description="Folder of a PEFT adapter.")
    device: str | None = Field(None, description="cpu, cuda, mps or auto; default: the best there is.")
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    download: bool = Field(False, description="Allow fetching from the hub.")


class CutPart(Part):
    """Which rows are too long, and what happens to those that cannot be used."""

    on_error: Literal["stop", "skip"] = "stop"
    max_length: Annotated[
        int, Field(ge=0, description="Longest row in tokens; 0 for the model's context.")
    ] = 0
    truncate: Annotated[bool, Field(description="Cut longer rows instead of refusing them.")] = False

    @property
    def cutting(self) -> dict[str, Any]:
        """As the library takes it (`aitia.models.in_tokens`)."""
        return {"max_length": self.max_length, "truncate": self.truncate, "on_error": self.on_error}


class DataPart(CutPart):
    """The training data."""

    path: Path = Field(
        description="JSONL, Parquet, or a saved datasets folder; or the address of such a file."
    )
    label: str | None = Field(None, description="A true-or-false column to measure the methods against.")


class ConceptPart(CutPart):
    """A concept file, or the texts to fit one to, and how these are cut."""

    file: Path | None = Field(None, description="A .concept.safetensors file.")
    name: str = "concept"
    positive: Path | None = Field(None, description="Texts that show the concept.")
    negative: Path | None = Field(None, description="Texts that do not.")
    recipe: Literal["contrast", "logistic-probe", "ridge-probe"] = "contrast"
    sites: tuple[str, ...] = Field((), description="Where to look; default: all sites.")
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_of_both(self) -> ConceptPart:
        texts = self.positive is not None and self.negative is not None
        if (self.file is not None) == texts or (self.positive is None) != (self.negative is None):
            raise ValueError("give either file, or both positive and negative")
        return self


class ScanPart(Part):
    """What to keep of each row."""

    signals: tuple[Literal["response", "prompt_end", "own_response", "backward"], ...] = (
        "response",
        "prompt_end",
        "backward",
    )
    max_batch_tokens: Annotated[int, Field(ge=1)] = 4096
    own_response_tokens: Annotated[int, Field(ge=1)] = 64
    seed: Seed = 0


class CurvaturePart(Part):
    """The curvature for the influence methods: a file, or how to fit it."""

    file: Annotated[Path | None, Field(description="As `aitia fit-curvature` wrote it.")] = None
    kind: Literal["identity", "diagonal", "kfac", "ekfac"] = "ekfac"
    labels: Literal["sampled", "empirical"] = "sampled"
    parameters: Annotated[
        Literal["full", "lora"] | None, Field(description="Default: lora under an adapter.")
    ] = None
    stride: Annotated[int, Field(ge=1)] = 1
    rows: Annotated[int, Field(ge=0)] = 5000
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"], Field(description="Of the products' factors.")
    ] = "auto"
    cache_gigabytes: Annotated[
        float,
        Field(ge=0, description="With empirical labels: run the model once if its factors fit into this."),
    ] = 4.0


class RankPart(CutPart):
    """How to rank, and how the queries are cut."""

    method: str = "backward-signal"
    compare: Annotated[tuple[str, ...], Field(description="Influence methods to show beside it.")] = ()
    queries: Annotated[Path | None, Field(description="Texts to measure, for the influence methods.")] = None
    curvature: CurvaturePart = CurvaturePart()
    damping: Annotated[float, Field(ge=0, description="A multiple of each layer's mean eigenvalue.")] = 0.1
    random_controls: Annotated[int, Field(ge=0)] = 8
    shown: Annotated[int, Field(ge=1, description="Rows shown from each end of the ranking.")] = 12
    seed: Seed = 0


class CuratePart(Part):
    """What to take out of the data."""

    drop: Annotated[float, Field(ge=0, le=1)] = 0.1
    end: Literal["top", "bottom"] = "top"


class GroupsPart(Part):
    """Kinds of rows: groups by the features of a sparse autoencoder."""

    sae: Annotated[
        Path | None,
        Field(description="Its folder or file; default: train one on the data, at the concept's site."),
    ] = None
    site: Annotated[str | None, Field(description="Where it lives, if its files do not say.")] = None
    features: Annotated[int, Field(ge=1, description="Of the one that is trained.")] = 512
    k: Annotated[int, Field(ge=1, description="Features that may fire on a token, likewise.")] = 16
    epochs: Annotated[int, Field(ge=1, description="Likewise.")] = 4
    pooling: Literal["share", "mean", "max"] = "share"
    threshold: Annotated[float, Field(ge=0)] = 0.1
    false_discovery_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    controls: Annotated[
        int | None,
        Field(
            ge=8,
            description="Meaningless directions to hold groups against; default 256, or 64 for methods with queries.",
        ),
    ] = None
    columns: Annotated[tuple[str, ...], Field(description="Columns of the data to test groups against.")] = ()
    strata: Annotated[str | None, Field(description="Compare rows within the values of this column.")] = None
    shown: Annotated[int, Field(ge=1)] = 8


class AttributeConfiguration(Part):
    """Everything `aitia attribute` needs to know."""

    out: Path = Field(description="Folder for the results.")
    model: ModelPart
    data: DataPart
    concept: ConceptPart
    scan: ScanPart = ScanPart()
    rank: RankPart = RankPart()
    curate: CuratePart = CuratePart()
    engine: EnginePart = EnginePart()
    groups: Annotated[GroupsPart | None, Field(description="Leave it out to rank rows alone.")] = None


def read_configuration(path: Path | str) -> AttributeConfiguration:
    """Read and check a configuration file; paths in it become absolute.

    Raises:
        AitiaError: the file is missing, is not YAML, or a field is wrong; each wrong field is named.
    """
    found = parse_configuration(path, AttributeConfiguration, "model, data, concept and out")
    folder = Path(path).resolve().parent
    adapter = place(found.model.adapter, folder)
    return found.model_copy(update={"model": found.model.model_copy(update={"adapter": adapter})})


def parse_configuration(
    path: Path | str, kind: type[C], keys: str, changes: Mapping[str, Mapping[str, Any]] | None = None
) -> C:
    """Read a YAML file into a configuration of some kind; paths in it, and its model's, become absolute.

    Args:
        path: the file.
        kind: of configuration.
        keys: what it must have, in words.
        changes: part -> fields that take the place of the file's own.

    Raises:
        AitiaError: the file is missing, is not YAML, or a field is wrong; each wrong field is named.
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
    for name, fields in (changes or {}).items():
        if isinstance(content.get(name), dict):
            content[name] = content[name] | dict(fields)
    try:
        found = absolute(kind.model_validate(content), path.resolve().parent)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, item['loc'])) or 'file'}: {_in_words(item)}" for item in error.errors()]
        raise AitiaError(f"{path}: {'; '.join(wrong)}") from error
    model: Any = found.model  # type: ignore[attr-defined]
    named = model.model_copy(update={"name": place(model.name, path.resolve().parent)})
    return found.model_copy(update={"model": named})


def _in_words(item: Mapping[str, Any]) -> str:
    """What is wrong with a field."""
    match item["type"]:
        case "missing":
            return "is missing; give it"
        case "model_type":
            return "a mapping is wanted here, of fields and their values"
        case "value_error":
            return str(item["ctx"]["error"])
    return str(item["msg"])


def write_configuration(configuration: Part) -> str:
    """The configuration as YAML text."""
    import yaml

    return yaml.safe_dump(configuration.model_dump(mode="json"), sort_keys=False)


def place(name: str | None, folder: Path) -> str | None:
    """A model's name: a path that exists is taken from the file's folder; anything else is a hub id."""
    try:
        return str(folder / name) if name is not None and (folder / name).exists() else name
    except (OSError, ValueError):  # no path at all
        return name


def absolute(part: C, folder: Path) -> C:
    """The part with every path in it taken from a folder; addresses stay."""

    def join(value: Any) -> Any:
        if isinstance(value, Path):
            return value if address_of(value) else folder / value
        if isinstance(value, Part):
            return absolute(value, folder)
        if isinstance(value, dict):
            return {name: join(each) for name, each in value.items()}
        return value

    return part.model_copy(update={name: join(value) for name, value in part})
