"""Are a model's files sound, and did every weight find its place? What is not is refused, never filled at random."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.errors import ModelError, reason_of
from aitia.files import read_json
from aitia.models.loading.fingerprint import weights_of

if TYPE_CHECKING:
    from torch import nn

_LFS = b"version https://git-lfs"
_SHOWN = 4
_SMALL = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "adapter_config.json",
    "model.safetensors.index.json",
)
_LARGE = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja")
# What earlier versions of transformers saved beside the weights, and works out itself now.
_BUFFERS = re.compile(
    r"(^|\.)(rotary_emb\.inv_freq|position_ids|(attn|attention|self_attention)\.(masked_)?bias|(cos|sin)_cached)$"
)


def require_sound_files(folder: Path, what: str, *, weights: bool = True) -> None:
    """Refuse a model's or adapter's folder of which a file is missing, unreadable, or not what its name says.

    Weights are opened as far as their header, which says how long the file must be.

    Args:
        folder: where it lies.
        what: for the message, as in "model runs/base".
        weights: look at the weights too.

    Raises:
        ModelError: naming the file and the mend.
    """
    for name in (*_SMALL, *_LARGE):
        file = folder / name
        if file.is_file() or file.is_symlink():
            require_readable(file, what)
            if name in _SMALL:
                _require_object(file, what)
    for file in _weight_files(folder, what) if weights else ():
        require_readable(file, what)
        _require_whole(file, what)


def require_model_folder(folder: Path, what: str, *, weights: bool = True) -> None:
    """Refuse a folder that holds no whole, unquantised model in safetensors; or not its shape, without weights.

    Raises:
        ModelError: naming what is missing.
    """
    require_sound_files(folder, what, weights=weights)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{what}: cannot be loaded: there is no config.json; give the folder of a whole model"
        )
    config = read_json(folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise ModelError(f"{what}: cannot be loaded: config.json has no model_type; save the model again")
    if config.get("quantization_config"):
        method = dict(config["quantization_config"]).get("quant_method", "some method")
        raise ModelError(
            f"{what}: its weights are quantised ({method}); give the checkpoint that it was made of, or dequantise it "
            "(`model.dequantize()` of transformers) and save it again"
        )
    if weights and not _weight_files(folder, what):
        others = [file.name for file in sorted(folder.glob("*.bin")) + sorted(folder.glob("*.pt"))]
        held = f"only {others[0]}, and pickled weights are not read" if others else "no weights"
        raise ModelError(
            f"{what}: cannot be loaded: it holds {held}; save it as safetensors (`save_pretrained`)"
        )


def require_all_loaded(info: Mapping[str, Collection[Any]], what: str, architectures: str = "") -> None:
    """Refuse a model of which a weight was not in its files, found no place, or has another shape.

    Args:
        info: the `output_loading_info` of transformers.
        what: for the message.
        architectures: what the configuration says that was saved.

    Raises:
        ModelError: naming the weights.
    """
    faults = []
    missing = sorted(info["missing_keys"])
    if missing:
        faults.append(f"its files lack {named(missing)}, which would be drawn at random")
    unexpected = sorted(name for name in info["unexpected_keys"] if not _BUFFERS.search(name))
    if unexpected:
        faults.append(f"the model of config.json has no place for {named(unexpected)}")
    shapes = [
        f"{name} has shape {tuple(saved)} in its files and {tuple(made)} by config.json"
        for name, saved, made in sorted(info["mismatched_keys"])
    ]
    if shapes:
        faults.append(named(shapes))
    if faults:
        saved_as = f" (saved as {architectures})" if architectures else ""
        raise ModelError(
            f"{what}{saved_as}: weights and config.json do not fit: {'; '.join(faults)}. Give a checkpoint of the "
            "whole causal language model (`AutoModelForCausalLM`), with the config.json that it was saved with"
        )


def require_finite_weights(network: nn.Module, what: str) -> None:
    """Refuse a network with a weight that is not a finite number.

    Raises:
        ModelError: naming the weight.
    """
    import torch

    for name, weight in weights_of(network):
        if not weight.is_floating_point() or not weight.numel() or ".trainable_tokens_original" in name:
            continue
        if not bool(torch.isfinite(torch.stack(torch.aminmax(weight))).all()):
            mend = (
                "load it in bfloat16 or float32" if weight.dtype == torch.float16 else "save the model again"
            )
            count = int((~torch.isfinite(weight)).sum())
            raise ModelError(
                f"{what}: {count} of the {weight.numel()} numbers of {name} are not finite "
                f"in {str(weight.dtype).removeprefix('torch.')}; {mend}"
            )


def named(names: Collection[str]) -> str:
    """The first few names, and how many more there are."""
    shown = list(names)[:_SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _weight_files(folder: Path, what: str) -> list[Path]:
    """The files that hold the weights, as transformers and PEFT look for them."""
    found = [folder / "adapter_model.safetensors"] if (folder / "adapter_model.safetensors").exists() else []
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists() or whole.is_symlink():
        return [*found, whole]
    if not index.is_file():
        return found
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise ModelError(f"{what}: {index} has no weight_map; fetch or save it again")
    files = [folder / name for name in sorted(set(shards.values()))]
    gone = [file.name for file in files if not file.exists()]
    if gone:
        raise ModelError(
            f"{what}: {named(gone)}: named by {index.name}, but not there; fetch what is missing"
        )
    return [*found, *files]


def require_readable(file: Path, what: str) -> None:
    """Refuse a file that cannot be read, is empty, or only points to the real one.

    Raises:
        ModelError: naming the file, what it is, and the mend.
    """
    try:
        with file.open("rb") as handle:
            start = handle.read(len(_LFS))
    except FileNotFoundError:
        raise ModelError(f"{what}: {file} is a link to nothing; fetch the file again") from None
    except OSError as error:
        raise ModelError(
            f"{what}: {file} cannot be read: {error.strerror or error}; it need not be damaged: see to its permissions"
        ) from error
    if start == _LFS:
        raise ModelError(
            f"{what}: {file} is a Git LFS pointer, not the file itself; run `git lfs pull` there"
        )
    if not start:
        raise ModelError(f"{what}: {file} is empty; fetch or save it again")


def _require_object(file: Path, what: str) -> None:
    try:
        right = isinstance(read_json(file), dict)
    except ValueError as error:
        raise ModelError(f"{what}: {file} is not JSON: {reason_of(error)}; fetch or save it again") from error
    if not right:
        raise ModelError(f"{what}: {file} holds no JSON object; fetch or save it again")


def _require_whole(file: Path, what: str) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{what}: {file} is damaged or cut short: {reason_of(error)}; fetch or save it again"
        ) from error
