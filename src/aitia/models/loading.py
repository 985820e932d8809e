"""Loading a language model from a hub id, a folder or a GGUF file, with or without a PEFT adapter."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.errors import ModelError
from aitia.files import atomic_path
from aitia.models.devices import require_device
from aitia.models.language_model import LanguageModel

if TYPE_CHECKING:
    import torch

_DTYPES = ("float32", "bfloat16", "float16")


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
    downloaded unless asked for.

    Args:
        name: a folder, a `.gguf` file (needs the `gguf` package), or a hub id in the local cache.
        adapter: folder (or cached hub id) of a PEFT adapter to put on the model.
        device: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto` to spread the model over all accelerators
            (needs `accelerate`); default: the first accelerator, else the CPU.
        dtype: `float32`, `bfloat16` or `float16`; default: float32 on the CPU, the checkpoint's own
            elsewhere.
        download: fetch what is not in the local cache.

    Returns:
        The model in evaluation mode with frozen parameters.

    Raises:
        ModelError: nothing usable there; the message says what was tried.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if dtype is not None and dtype not in _DTYPES:
        raise ModelError(f"dtype {dtype!r} is not one of {', '.join(_DTYPES)}")
    device = device or _default_device()
    require_device(device)
    options: dict[str, Any] = {"local_files_only": not download}
    source = str(name)
    if source.endswith(".gguf"):
        if not Path(source).is_file():
            raise ModelError(f"{source}: no such GGUF file")
        options["gguf_file"] = Path(source).name
        source = str(Path(source).parent)
    weights: dict[str, Any] = {"dtype": dtype or ("float32" if device == "cpu" else "auto")}
    if "gguf_file" not in options:
        weights["use_safetensors"] = True
    if device == "auto":
        weights["device_map"] = "auto"
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        network = AutoModelForCausalLM.from_pretrained(source, **options, **weights)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(_loading_failed(str(name), error, download)) from error
    if "gguf_file" in options:
        network = _plain_network(network)
    if adapter is not None:
        network = _with_adapter(network, str(adapter), download)
    if device != "auto":
        network = network.to(torch.device(device))  # type: ignore[reportArgumentType]
    return LanguageModel(
        network=network,
        tokenizer=tokenizer,
        name=str(name),
        adapter=None if adapter is None else str(adapter),
    )


def load_outline(
    name: str | Path, *, adapter: str | Path | None = None, dtype: str | None = None
) -> LanguageModel:
    """A model's network without its weights, and its tokenizer: enough to count with, in no time.

    Raises:
        ModelError: as for `load_model`; a GGUF file has its shape with its weights, and is not read.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    if str(name).endswith(".gguf"):
        raise ModelError(f"{name}: the shape of a GGUF file cannot be read alone; give the model's folder")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(name), local_files_only=True)
        config = AutoConfig.from_pretrained(str(name), local_files_only=True)
        chosen = getattr(torch, dtype or str(config.dtype or "float32").removeprefix("torch."))
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config, dtype=chosen)
            if adapter is not None:
                from peft import PeftConfig, get_peft_model

                network = get_peft_model(
                    network, PeftConfig.from_pretrained(str(adapter), local_files_only=True)
                )
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(_loading_failed(str(name), error, False)) from error
    return LanguageModel(network=network, tokenizer=tokenizer, name=str(name))


@lru_cache(maxsize=1)
def load_same(name: str, adapter: str | None, device: str, dtype: str, fingerprint: str) -> LanguageModel:
    """Load a model that another process speaks of; kept, because that process speaks of it with each new work.

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


def save_model(model: LanguageModel, folder: str | Path) -> Path:
    """Save network and tokenizer to a folder that `load_model` and `transformers` read.

    A PEFT model is saved as its adapter alone.
    """
    with atomic_path(folder) as temporary:
        model.network.save_pretrained(temporary)
        model.tokenizer.save_pretrained(temporary)
    return Path(folder)


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


def _with_adapter(network: Any, adapter: str, download: bool) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(network, adapter, is_trainable=False, local_files_only=not download)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"adapter {adapter}: cannot be put on this model: {first}") from error


def _loading_failed(name: str, error: Exception, download: bool) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(name).exists():
        return f"model {name}: cannot be loaded: {first}"
    mend = "" if download else "; give a folder, or allow the download: `download`"
    return f"model {name}: no such folder, and not in the local hub cache{mend} ({first})"
