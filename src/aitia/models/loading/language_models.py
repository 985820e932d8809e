"""Loading a language model from a hub id, a folder or a GGUF file, with or without a PEFT adapter.

What is loaded is what plain transformers and PEFT load for inference; where weights are missing, left over or damaged,
it is refused, and they are named.
"""

from __future__ import annotations

import copyreg
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.errors import ModelError, reason_of
from aitia.files import atomic_path, read_json
from aitia.models.language_model import LanguageModel
from aitia.models.loading.adapters import (
    CONFIGURATION,
    is_adapter,
    put_on,
    require_adapter_folder,
)
from aitia.models.loading.devices import require_device
from aitia.models.loading.fingerprint import base_fingerprint
from aitia.models.loading.tokenizers import has_tokenizer, load_tokenizer, require_tokens_fit
from aitia.models.loading.weights import (
    require_all_loaded,
    require_finite_weights,
    require_model_folder,
    require_readable,
    require_sound_files,
)

if TYPE_CHECKING:
    import torch

_DTYPES = ("float32", "bfloat16", "float16")
_FETCHED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
_NOT_FETCHED = ("original/*", "consolidated*")


def load_model(
    name: str | Path,
    *,
    adapter: str | Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    download: bool = False,
) -> LanguageModel:
    """Load a decoder-only language model, ready to be traced.

    Only safetensors and GGUF weights are read, code from the hub is never run, and nothing is
    downloaded unless asked for. A tokenizer or chat template saved with the adapter is the one used.

    Args:
        name: a folder, a `.gguf` file (needs the `gguf` package), or a hub id in the local cache. The folder of an
            adapter stands for its base, where that is at hand, with the adapter on it.
        adapter: folder (or cached hub id) of a PEFT adapter to put on the model.
        device: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto` to spread the model over all accelerators
            (needs `accelerate`); default: the first accelerator, else the CPU.
        dtype: `float32`, `bfloat16` or `float16`; default: float32 on the CPU, the checkpoint's own
            elsewhere.
        download: fetch what is not in the local cache.

    Returns:
        The model in evaluation mode with frozen parameters.

    Raises:
        ModelError: nothing usable there, weights that are missing, left over, misshapen or not finite, a tokenizer
            that does not fit, or a model that is not causal; the message names the file or weight.
    """
    import torch

    if dtype is not None and dtype not in _DTYPES:
        raise ModelError(f"dtype {dtype!r} is not one of {', '.join(_DTYPES)}")
    device = device or _default_device()
    parts = _find(str(name), None if adapter is None else str(adapter), download)
    require_device(device)
    options: dict[str, Any] = {"local_files_only": not download}
    source = str(name)
    if source.endswith(".gguf"):
        if not Path(source).is_file():
            raise ModelError(f"{source}: no such GGUF file")
        options["gguf_file"] = Path(source).name
        source = str(Path(source).parent)
    weights: dict[str, Any] = {"dtype": dtype or ("float32" if device == "cpu" else "auto")}
    if device == "auto":
        weights["device_map"] = "auto"
    tokenizer = load_tokenizer(parts.source, parts.adapter_folder, parts.what, **parts.options)
    network = _network(parts, weights)
    if any(parameter.is_meta for parameter in network.parameters()):
        raise ModelError(f"{parts.what}: does not fit into the memory of the accelerators; give a device")
    base = None
    if parts.adapter_folder is not None:
        base = base_fingerprint(network)  # an adapter may change the base's own biases and embeddings
        network = put_on(
            network,
            parts.adapter_folder,
            read_json(parts.adapter_folder / CONFIGURATION),
            base=parts.name,
            what=f"adapter {parts.adapter}",
            tokens=len(tokenizer) if has_tokenizer(parts.adapter_folder) else None,
        )
    if device != "auto":
        try:
            network = network.to(torch.device(device))  # type: ignore[reportArgumentType]
        except Exception as error:
            raise ModelError(f"device {device!r}: {reason_of(error)}") from error
    whole = parts.what if parts.adapter is None else f"{parts.what} with adapter {parts.adapter}"
    require_finite_weights(network, whole)
    require_tokens_fit(tokenizer, network, whole)
    model = LanguageModel(
        network=network,
        tokenizer=tokenizer,
        name=parts.name,
        adapter=parts.adapter,
        known_base_fingerprint=base,
    )
    return model


def load_outline(
    name: str | Path, *, adapter: str | Path | None = None, dtype: str | None = None
) -> LanguageModel:
    """A model's network without its weights, and its tokenizer: enough to count with, in no time.

    Returns:
        A model on the `meta` device, which cannot be run.

    Raises:
        ModelError: as for `load_model`; a GGUF file has its shape with its weights, and is not read.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if str(name).endswith(".gguf"):
        raise ModelError(f"{name}: the shape of a GGUF file cannot be read alone; give the model's folder")
    parts = _find(str(name), None if adapter is None else str(adapter), False, weights=False)
    tokenizer = load_tokenizer(parts.source, parts.adapter_folder, parts.what, **parts.options)
    try:
        config = AutoConfig.from_pretrained(parts.source, **parts.options)
        chosen = getattr(torch, dtype or str(config.dtype or "float32").removeprefix("torch."))
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config, dtype=chosen)
            if parts.adapter_folder is not None:
                from peft import PeftConfig, get_peft_model

                network = get_peft_model(network, PeftConfig.from_pretrained(str(parts.adapter_folder)))
    except Exception as error:
        raise ModelError(f"{parts.what}: cannot be loaded: {reason_of(error)}") from error
    return LanguageModel(
        network=network,
        tokenizer=tokenizer,
        name=parts.name,
        adapter=None if parts.adapter_folder is None else str(parts.adapter_folder),
    )


@lru_cache(maxsize=1)
def load_same(name: str, adapter: str | None, device: str, dtype: str, fingerprint: str) -> LanguageModel:
    """Load a model that another process speaks of; kept, because that process speaks of it with each new work.

    Returns:
        The model, with the fingerprint that was asked for.

    Raises:
        ModelError: it is not there, or not the same.
    """
    model = load_model(name, adapter=adapter, device=device, dtype=dtype)
    if model.fingerprint != fingerprint:
        raise ModelError(
            f"model {name}: what lies there is not the model of the process that gave the work; save that one "
            "(aitia.models.save_model) in a folder that every worker sees, and load it from there"
        )
    return model


def _whole_path(name: str) -> str:
    """A place on this machine by its whole path, for processes that work elsewhere; a hub id as it is."""
    from pathlib import Path

    return str(Path(name).absolute()) if Path(name).exists() else name


def _by_name(model: LanguageModel) -> tuple[Any, ...]:
    """How a model travels to another process: by name, to be loaded there, and never as a pickle of it."""
    spread = len(set(getattr(model.network, "hf_device_map", {}).values())) > 1
    device = "auto" if spread else model.device.type
    name, adapter = _whole_path(model.name), None if model.adapter is None else _whole_path(model.adapter)
    return load_same, (name, adapter, device, model.dtype, model.fingerprint)


copyreg.pickle(LanguageModel, _by_name)  # here, so that the model's own file need not know how it is loaded


def save_model(model: LanguageModel, folder: str | Path) -> Path:
    """Save network and tokenizer to a folder that `load_model` and `transformers` read.

    A PEFT model is saved as its adapter alone.

    Returns:
        The folder.
    """
    with atomic_path(folder) as temporary:
        model.network.save_pretrained(temporary)
        model.tokenizer.save_pretrained(temporary)
    return Path(folder)


@dataclass(frozen=True)
class _Parts:
    """Where the parts of a model lie, each seen to be whole.

    Attributes:
        name: of the base, as it was given.
        source: what the libraries load: a folder, or a hub id.
        options: for the libraries' loaders.
        adapter: as it was given.
        adapter_folder: where it lies.
    """

    name: str
    source: str
    options: dict[str, Any]
    adapter: str | None
    adapter_folder: Path | None

    @property
    def what(self) -> str:
        return f"model {self.name}"


def _find(name: str, adapter: str | None, download: bool, *, weights: bool = True) -> _Parts:
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    if name.endswith(".gguf"):
        if not Path(name).is_file():
            raise ModelError(f"{name}: no such GGUF file")
        require_readable(Path(name), f"model {name}")
        source = str(Path(name).parent)
        options["gguf_file"] = Path(name).name
    else:
        folder = _folder(name, "model", download)
        if is_adapter(folder):
            require_sound_files(folder, f"model {name}")
            name, adapter = _base_of(name, folder, adapter), name
            folder = _base_folder(name, adapter, download)
        require_model_folder(folder, f"model {name}", weights=weights)
        _require_decoder(folder, f"model {name}")
        source = name
    adapter_folder = None
    if adapter is not None:
        adapter_folder = _folder(adapter, "adapter", download)
        require_sound_files(adapter_folder, f"adapter {adapter}")
        require_adapter_folder(adapter_folder, f"adapter {adapter}")
    return _Parts(name, source, options, adapter, adapter_folder)


def _folder(name: str, kind: str, download: bool) -> Path:
    """The folder of a model or adapter: as it is given, or in the hub's cache.

    Returns:
        A folder on this machine.

    Raises:
        ModelError: there is none.
    """
    from huggingface_hub import snapshot_download

    if Path(name).is_dir():
        return Path(name)
    if Path(name).exists():
        raise ModelError(f"{kind} {name}: a file; give the folder that it lies in")
    try:
        found = snapshot_download(
            name,
            local_files_only=not download,
            allow_patterns=list(_FETCHED),
            ignore_patterns=list(_NOT_FETCHED),
        )
    except Exception as error:
        mend = "" if download else "; give a folder, or allow the download: `download`"
        raise ModelError(
            f"{kind} {name}: no such folder, and not in the local hub cache{mend} ({reason_of(error, 200)})"
        ) from error
    return Path(found)


def _base_of(name: str, folder: Path, adapter: str | None) -> str:
    """The base of an adapter whose folder was given as the model."""
    if adapter is not None:
        raise ModelError(f"model {name}: an adapter itself; give its base as the model, and one adapter")
    if (folder / "config.json").exists() and list(folder.glob("model*.safetensors")):
        raise ModelError(
            f"model {name}: the folder holds a whole model and an adapter; move the adapter's files "
            f"(adapter_*) into a folder of their own, and give that as the adapter if it is wanted"
        )
    base = read_json(folder / CONFIGURATION).get("base_model_name_or_path")
    if not base:
        raise ModelError(
            f"model {name}: an adapter that does not name its base; give the base as `model` and this "
            "folder as `adapter`"
        )
    beside = folder / base
    return str(beside) if not Path(base).exists() and beside.is_dir() else str(base)


def _base_folder(base: str, adapter: str, download: bool) -> Path:
    try:
        folder = _folder(base, "model", download)
    except ModelError as error:
        raise ModelError(
            f"model {adapter}: an adapter, and its base {base} is not here; give the base as `model` and "
            "this folder as `adapter`"
        ) from error
    if is_adapter(folder):
        raise ModelError(
            f"model {adapter}: an adapter on an adapter ({base}); merge that into its base first"
        )
    return folder


def _require_decoder(folder: Path, what: str) -> None:
    """Refuse a folder whose configuration is not that of a causal language model."""
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, __version__

    config = read_json(folder / "config.json")
    kind = config["model_type"]
    if config.get("is_encoder_decoder"):
        raise ModelError(
            f"{what}: an encoder-decoder ({kind}); only decoder-only language models are supported"
        )
    if kind not in CONFIG_MAPPING:
        code = "; code from its folder is never run" if config.get("auto_map") else ""
        raise ModelError(f"{what}: transformers {__version__} does not know the model type {kind!r}{code}")
    if CONFIG_MAPPING[kind] not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"{what}: transformers has no causal language model of the type {kind!r}; only decoder-only language "
            "models are supported (of a model of text and images, give the language model alone)"
        )


def _network(parts: _Parts, weights: dict[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM

    if "gguf_file" not in parts.options:
        weights = weights | {"use_safetensors": True}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            parts.source,
            **parts.options,
            **weights,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
        )
    except Exception as error:  # the libraries raise their own kinds, and bare ones
        raise ModelError(f"{parts.what}: cannot be loaded: {reason_of(error)}") from error
    network, info = loaded
    saved = "" if "gguf_file" in parts.options else ", ".join(network.config.architectures or ())
    require_all_loaded(info, parts.what, saved)
    return _plain_network(network) if "gguf_file" in parts.options else network


def _default_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _plain_network(network: Any) -> Any:
    """A GGUF-loaded network is de-quantised but still marked as quantised, and cannot be saved; make it plain."""
    config = network.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = type(network)(config)
    plain.load_state_dict(network.state_dict())
    plain.generation_config = network.generation_config
    dtype: torch.dtype = network.dtype
    return plain.to(dtype)
