"""Reading and writing sparse autoencoders: folders of `sae_lens` and `sparsify`, and plain safetensors.

    sae_lens    cfg.json and sae_weights.safetensors (W_enc [d, m], W_dec [m, d], b_enc, b_dec, threshold)
    sparsify    cfg.json and sae.safetensors (encoder.weight [m, d], encoder.bias, W_dec [m, d], b_dec)
    plain       one .safetensors file with the tensors of either; the site must be given

`sae_lens` wrote its options flat at first, with `hook_name` and `activation_fn_str`, and later under
`architecture` and `metadata`; both are read (`aitia.concepts.sae_options`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.concepts.sae import SparseAutoencoder
from aitia.concepts.sae_options import read_options
from aitia.errors import ConceptError, reason_of
from aitia.files import atomic_path, read_json, reading, require_only

if TYPE_CHECKING:
    import torch

_WEIGHTS = ("sae_weights.safetensors", "sae.safetensors")
_KNOWN = {
    # name of a tensor -> its shape, of width d and m features
    "W_enc": "dm",
    "W_dec": "md",
    "b_enc": "m",
    "b_dec": "d",
    "threshold": "m",
    "scaling_factor": "m",
    "encoder.weight": "md",
    "encoder.bias": "m",
}
_FIELDS = {
    "sae_lens": {"W_enc": "encoder", "W_dec": "decoder", "b_enc": "encoder_bias", "b_dec": "decoder_bias"},
    "sparsify": {
        "encoder.weight": "encoder",
        "W_dec": "decoder",
        "encoder.bias": "encoder_bias",
        "b_dec": "decoder_bias",
    },
}


def load_sae(
    path: Path | str,
    *,
    site: str | None = None,
    activation: str | None = None,
    k: int | None = None,
) -> SparseAutoencoder:
    """Read a sparse autoencoder.

    Args:
        path: a folder of `sae_lens` or `sparsify`, or a plain safetensors file.
        site: where it lives, as in `resid_post.19`; must be given where the files do not say.
        activation: for a plain file: `relu`, `jumprelu` or `topk`; default: `jumprelu` where it has a
            threshold, `topk` where `k` is given, else `relu`.
        k: for a plain file with `topk`.

    Returns:
        The autoencoder, its tensors in float32.

    Raises:
        ConceptError: a file is missing or damaged, of an architecture that is not known, or made for
            another place than the residual stream; or the site is not known.
    """
    path = Path(path)
    options: dict[str, Any] = {}
    file = path
    if path.is_dir():
        options = _read_options(path / "cfg.json")
        file = next((path / name for name in _WEIGHTS if (path / name).is_file()), path / _WEIGHTS[0])
    tensors = _read_tensors(file)
    try:
        chosen = read_options(options, path) if options else _from_arguments(activation, k, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ConceptError(f"{path / 'cfg.json'}: options of the wrong kind: {reason_of(error)}") from error
    place = site or chosen.pop("site", None)
    chosen.pop("site", None)
    if place is None:
        raise ConceptError(f"{path}: does not say where it lives; give a site, as resid_post.19: `site`")
    sizes = {"d": chosen.pop("d_in", None), "m": chosen.pop("d_sae", None)}
    weights = _weights(tensors, file, chosen["activation"], sizes)
    return SparseAutoencoder(**weights, **chosen, site=place, name=str(path))


def save_sae(sae: SparseAutoencoder, folder: Path | str) -> Path:
    """Write a folder in the layout of `sae_lens`, whole or not at all, which `load_sae` and `sae_lens` read.

    A folder that an autoencoder is in is replaced.

    Returns:
        The folder.

    Raises:
        StoreError: the folder holds other things, which would be lost.
    """
    from safetensors.torch import save_file

    architecture = {"relu": "standard"}.get(sae.activation, sae.activation)
    hook = re.sub(r"resid_post\.(\d+)", r"blocks.\1.hook_resid_post", sae.site)
    options: dict[str, Any] = {
        "architecture": architecture,
        "d_in": sae.width,
        "d_sae": sae.features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.subtract_decoder_bias,
        "normalize_activations": sae.normalisation,
        "metadata": {
            "hook_name": hook,
            "aitia_site": sae.site,
            "aitia_base_fingerprint": sae.base_fingerprint,
            "aitia_training": dict(sae.training),
        },
    }
    if sae.activation == "topk":
        options |= {"k": sae.k, "rescale_acts_by_decoder_norm": sae.scale_by_decoder}
    tensors = {
        "W_enc": sae.encoder,
        "W_dec": sae.decoder,
        "b_enc": sae.encoder_bias,
        "b_dec": sae.decoder_bias,
    }
    if sae.threshold is not None:
        tensors["threshold"] = sae.threshold
    require_sae_place(folder)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        text = json.dumps(options, indent=2, sort_keys=True)
        (temporary / "cfg.json").write_text(text + "\n", encoding="utf-8")
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(kept, temporary / _WEIGHTS[0])
    return Path(folder)


def require_sae_place(folder: Path | str) -> None:
    """Refuse a folder that holds other things than an autoencoder, which would be lost.

    Raises:
        StoreError: it does.
    """
    require_only(folder, ["cfg.json", *_WEIGHTS])


def _read_options(file: Path) -> dict[str, Any]:
    try:
        options = read_json(file)
    except FileNotFoundError:
        raise ConceptError(f"{file}: missing; a folder of sae_lens or sparsify has one") from None
    except ValueError as error:
        raise ConceptError(f"{file}: not JSON: {reason_of(error)}") from error
    if not isinstance(options, dict) or not options:
        raise ConceptError(f"{file}: not the options of a sparse autoencoder")
    return options


def _read_tensors(file: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with reading(file):
            found = load_file(file)
    except FileNotFoundError:
        raise ConceptError(
            f"{file}: no such file; give a folder of sae_lens or sparsify, or a safetensors file"
        ) from None
    except (SafetensorError, OSError) as error:
        raise ConceptError(f"{file}: damaged, or not a safetensors file: {reason_of(error)}") from error
    return {name: tensor.float() for name, tensor in found.items()}


def _weights(
    tensors: dict[str, torch.Tensor], file: Path, activation: str, sizes: dict[str, Any]
) -> dict[str, Any]:
    """The tensors as fields of a `SparseAutoencoder`.

    Args:
        tensors: all that the file holds.
        file: for messages.
        activation: only `jumprelu` has thresholds.
        sizes: d and m where the options say them.

    Returns:
        Field -> tensor.

    Raises:
        ConceptError: a tensor is missing, is not one of an autoencoder of this kind, or of another shape.
    """
    names = _FIELDS["sparsify" if "encoder.weight" in tensors else "sae_lens"]
    wanted = [*names, *(["threshold"] if activation == "jumprelu" else [])]
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise ConceptError(
            f"{file}: no tensor {', '.join(missing)}; there are {', '.join(sorted(tensors)) or 'none'}"
        )
    others = sorted(set(tensors) - {*wanted, "scaling_factor"})
    if others:
        raise ConceptError(
            f"{file}: holds {', '.join(others)} too, which a sparse autoencoder with {activation} does not have"
        )
    _require_shapes(tensors, file, sizes)
    scale = tensors.get("scaling_factor")
    if scale is not None and not bool((scale == 1).all()):
        raise ConceptError(f"{file}: has a scaling_factor (of finetuning), which is not supported")
    found: dict[str, Any] = {field: tensors[name] for name, field in names.items()}
    if "encoder.weight" in tensors:
        found["encoder"] = found["encoder"].T.contiguous()
    return found | {"threshold": tensors["threshold"] if activation == "jumprelu" else None}


def _require_shapes(tensors: dict[str, torch.Tensor], file: Path, sizes: dict[str, Any]) -> None:
    """Hold every tensor's shape against the first and against the sizes in the options."""
    declared = {letter: (size, "cfg.json") for letter, size in sizes.items() if size is not None}
    for name, letters in _KNOWN.items():
        if name not in tensors:
            continue
        shape = tuple(tensors[name].shape)
        if len(shape) != len(letters):
            raise ConceptError(f"{file}: {name} has {len(shape)} dimensions, not {len(letters)}")
        for letter, size in zip(letters, shape, strict=True):
            before, by = declared.setdefault(letter, (size, name))
            if before != size:
                what = "the width" if letter == "d" else "the number of features"
                raise ConceptError(f"{file}: {name} has shape {shape}, but {what} is {before} by {by}")


def _from_arguments(
    activation: str | None, k: int | None, tensors: dict[str, torch.Tensor]
) -> dict[str, Any]:
    guessed = "jumprelu" if "threshold" in tensors else "topk" if k else "relu"
    return {"activation": activation or guessed, "k": k or 0}
