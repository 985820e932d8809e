"""Reading and writing sparse autoencoders: folders of `sae_lens` and `sparsify`, and plain safetensors.

    sae_lens    cfg.json and sae_weights.safetensors (W_enc [d, m], W_dec [m, d], b_enc, b_dec, threshold)
    sparsify    cfg.json and sae.safetensors (encoder.weight [m, d], encoder.bias, W_dec [m, d], b_dec)
    plain       one .safetensors file with the tensors of either; the site is told

`sae_lens` wrote its options flat at first, with `hook_name` and `activation_fn_str`, and later under
`architecture` and `metadata`; both are read.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.concepts.sae import SparseAutoencoder
from aitia.errors import ConceptError
from aitia.files import atomic_path

if TYPE_CHECKING:
    import torch

_WEIGHTS = ("sae_weights.safetensors", "sae.safetensors")
_HOOK = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")
_LAYER = re.compile(r"(?:model\.)?(?:layers|h)\.(\d+)")
_ARCHITECTURES = {
    "standard": "relu",
    "relu": "relu",
    "jumprelu": "jumprelu",
    "topk": "topk",
}
_FOLD = (
    "this autoencoder wants its inputs scaled by a number that is not in its files; fold it into the weights"
)


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
        chosen = _from_options(options, path) if options else _from_arguments(activation, k, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        wrong = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise ConceptError(f"{path / 'cfg.json'}: options of the wrong kind: {wrong}") from error
    place = site or chosen.pop("site", None)
    chosen.pop("site", None)
    if place is None:
        raise ConceptError(f"{path}: does not say where it lives; give a site, as resid_post.19")
    try:
        return SparseAutoencoder(**_weights(tensors, file), **chosen, site=place, name=str(path))
    except KeyError as error:
        raise ConceptError(
            f"{file}: no tensor {error.args[0]}; there are {', '.join(sorted(tensors)) or 'none'}"
        ) from None


def save_sae(sae: SparseAutoencoder, folder: Path | str) -> Path:
    """Write a folder in the layout of `sae_lens`, whole or not at all, which `load_sae` and `sae_lens` read.

    An existing folder is replaced.
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
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        text = json.dumps(options, indent=2, sort_keys=True)
        (temporary / "cfg.json").write_text(text + "\n", encoding="utf-8")
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(kept, temporary / _WEIGHTS[0])
    return Path(folder)


def _read_options(file: Path) -> dict[str, Any]:
    try:
        options = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConceptError(f"{file}: missing; a folder of sae_lens or sparsify has one") from None
    except (ValueError, OSError, RecursionError) as error:
        raise ConceptError(f"{file}: cannot be read: {error}") from error
    if not isinstance(options, dict) or not options:
        raise ConceptError(f"{file}: not the options of a sparse autoencoder")
    return options


def _read_tensors(file: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: tensor.float() for name, tensor in load_file(file).items()}
    except FileNotFoundError:
        raise ConceptError(f"{file}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise ConceptError(f"{file}: not a safetensors file: {error}") from error


def _weights(tensors: dict[str, torch.Tensor], file: Path) -> dict[str, Any]:
    if "encoder.weight" in tensors:
        if "W_skip" in tensors:
            raise ConceptError(f"{file}: a transcoder with a skip connection, not a sparse autoencoder")
        return {
            "encoder": tensors["encoder.weight"].T.contiguous(),
            "encoder_bias": tensors["encoder.bias"],
            "decoder": tensors["W_dec"],
            "decoder_bias": tensors["b_dec"],
        }
    found = {
        "encoder": tensors["W_enc"],
        "decoder": tensors["W_dec"],
        "encoder_bias": tensors["b_enc"],
        "decoder_bias": tensors["b_dec"],
        "threshold": tensors.get("threshold"),
    }
    if found["encoder"].dim() != 2:
        raise ConceptError(f"{file}: W_enc has {found['encoder'].dim()} dimensions, not 2")
    scale = tensors.get("scaling_factor")
    if scale is not None and not bool((scale == 1).all()):
        raise ConceptError(f"{file}: has a scaling_factor (of finetuning), which is not supported")
    return found


def _from_arguments(
    activation: str | None, k: int | None, tensors: dict[str, torch.Tensor]
) -> dict[str, Any]:
    guessed = "jumprelu" if "threshold" in tensors else "topk" if k else "relu"
    return {"activation": activation or guessed, "k": k or 0}


def _from_options(options: dict[str, Any], path: Path) -> dict[str, Any]:
    if "architecture" not in options and "activation_fn_str" not in options and "expansion_factor" in options:
        return _from_sparsify(options, path)
    metadata = options.get("metadata") or {}
    named = str(options.get("architecture", "standard"))
    if named == "standard" and options.get("activation_fn_str") == "topk":
        named = "topk"
    if named not in _ARCHITECTURES:
        raise ConceptError(
            f"{path}: architecture {named!r} is not supported; there are {', '.join(_ARCHITECTURES)}"
        )
    normalisation = options.get("normalize_activations") or "none"
    if normalisation == "expected_average_only_in":
        raise ConceptError(f"{path}: normalize_activations {normalisation!r}: {_FOLD}")
    if options.get("reshape_activations", "none") != "none":
        raise ConceptError(
            f"{path}: reshapes its activations (of attention heads); only the residual stream is supported"
        )
    found: dict[str, Any] = {
        "activation": _ARCHITECTURES[named],
        "normalisation": normalisation,
        "subtract_decoder_bias": bool(options.get("apply_b_dec_to_input", True)),
        "base_fingerprint": metadata.get("aitia_base_fingerprint"),
        "training": metadata.get("aitia_training") or {},
        "site": metadata.get("aitia_site")
        or _site_of_hook(options.get("hook_name") or metadata.get("hook_name"), path),
    }
    if found["activation"] == "topk":
        found["k"] = int((options.get("activation_fn_kwargs") or {}).get("k") or options.get("k") or 0)
        found["scale_by_decoder"] = bool(options.get("rescale_acts_by_decoder_norm", False))
    return found


def _from_sparsify(options: dict[str, Any], path: Path) -> dict[str, Any]:
    if options.get("activation", "topk") != "topk":
        raise ConceptError(f"{path}: activation {options['activation']!r} is not supported; only topk is")
    if options.get("transcode"):
        raise ConceptError(f"{path}: a transcoder, not a sparse autoencoder")
    layer = _LAYER.fullmatch(path.name)
    return {"activation": "topk", "k": int(options["k"])} | (
        {"site": f"resid_post.{layer[1]}"} if layer else {}
    )


def _site_of_hook(hook: str | None, path: Path) -> str | None:
    """`blocks.19.hook_resid_post` is `resid_post.19`, and so is `blocks.20.hook_resid_pre`."""
    if hook is None:
        return None
    match = _HOOK.fullmatch(hook)
    layer = None if match is None else int(match[1]) - (match[2] == "pre")
    if layer is None or layer < 0:
        raise ConceptError(
            f"{path}: made for {hook}; only the residual stream after a block is supported "
            "(blocks.N.hook_resid_post, or blocks.N+1.hook_resid_pre)"
        )
    return f"resid_post.{layer}"
