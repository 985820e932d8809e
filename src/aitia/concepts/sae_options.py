"""What the options in the `cfg.json` of a sparse autoencoder mean for its features: each is known, or refused.

Every option that a version of `sae_lens` (2 to 6) or `sparsify` (1.0 to 1.3) writes is in one of three tables.
Honoured: it says how features are computed, and is followed exactly. Refused: some of its values say so too, and
are not supported. Harmless: it tells of training, data or logging, and features are the same whatever it says.
Anything else is refused by name, unless it is switched off; in `metadata`, which is for people, it is noted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aitia.engine import warn
from aitia.errors import ConceptError

_HOOK = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")
_LAYER = re.compile(r"(?:model\.)?(?:layers|h)\.(\d+)")
_ARCHITECTURES = {"standard": "relu", "relu": "relu", "jumprelu": "jumprelu", "topk": "topk"}
_OFF = (None, False, "", "none", 0, [], {})
_FOLD = "it wants its inputs scaled by a number that is not in its files; fold it into the weights"
_TRANSCODER = "a transcoder, not a sparse autoencoder"
_LOADING = {  # of a model in transformer_lens: what leaves its residual stream as it is
    "center_unembed", "center_writing_weights", "default_padding_side", "default_prepend_bos", "device", "dtype",
    "first_n_layers", "fold_ln", "fold_value_biases", "n_devices", "refactor_factored_attn_matrices", "torch_dtype",
}  # fmt: skip


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


HONOURED = {
    "sae_lens": _names(
        """
        architecture activation_fn activation_fn_str activation_fn_kwargs k rescale_acts_by_decoder_norm d_in
        d_sae apply_b_dec_to_input normalize_activations hook_name hook_point hook_layer hook_point_layer
        metadata aitia_site aitia_base_fingerprint aitia_training
        """
    ),
    "sparsify": _names(
        """
        activation k d_in num_latents expansion_factor
        """
    ),
}

REFUSED: Mapping[str, Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    # name -> which values are harmless, and what the others mean
    "sae_lens": {
        "hook_head_index": (lambda value: value is None, "made for one attention head"),
        "hook_point_head_index": (lambda value: value is None, "made for one attention head"),
        "reshape_activations": (
            lambda value: value in _OFF,
            "it reshapes its activations (of attention heads)",
        ),
        "finetuning_scaling_factor": (lambda value: not value, "its features are scaled before decoding"),
        "seqpos_slice": (lambda value: not any(value or ()), "made for some positions of a text alone"),
        "model_from_pretrained_kwargs": (
            lambda value: not (value or {}).get("center_writing_weights"),
            "made for a model whose activations are centred (center_writing_weights); subtract from each column of "
            "W_enc its mean, and take the entry out",
        ),
        "d_out": (lambda value: value is None, _TRANSCODER),
        "hook_name_out": (lambda value: value is None, _TRANSCODER),
    },
    "sparsify": {
        "transcode": (lambda value: not value, _TRANSCODER),
        "skip_connection": (lambda value: not value, "a transcoder with a skip connection"),
        "signed": (lambda value: not value, "its features have signs"),
    },
}

HARMLESS = {
    "sae_lens": _names(
        """
        act_store_device adam_beta1 adam_beta2 autocast autocast_lm aux_loss_coefficient b_dec_init_method
        cached_activations_path checkpoint_path compile_llm compile_sae context_size dataset_path
        dataset_trust_remote_code dead_feature_estimation_method dead_feature_threshold dead_feature_window
        decoder_heuristic_init decoder_heuristic_init_norm decoder_init_norm decoder_orthogonal_init device
        disable_concat_sequences dtype eval_batch_size_prompts eval_every_n_wandb_logs exclude_special_tokens
        expansion_factor feature_reinit_scale feature_sampling_method feature_sampling_window finetuning_method
        finetuning_tokens from_pretrained_path hook_eval hook_point_eval hook_layer_out
        init_encoder_as_decoder_transpose is_dataset_tokenized jumprelu_bandwidth jumprelu_init_threshold
        jumprelu_sparsity_loss_mode jumprelu_tanh_scale l0_coefficient l0_warm_up_steps l1_coefficient
        l1_warm_up_steps llm_compilation_mode log_activations_store_to_wandb log_optimizer_state_to_wandb
        log_to_wandb logger lp_norm lr lr_decay_steps lr_end lr_scheduler_name lr_warm_up_steps
        matryoshka_widths model_class_name model_kwargs model_name mse_loss_normalization n_batches_in_buffer
        n_checkpoints n_eval_batches n_eval_seqs n_restart_cycles neuronpedia_id noise_scale
        normalize_sae_decoder output_path pre_act_loss_coefficient prepend_bos resample_batches resume
        resume_from_checkpoint run_name sae_compilation_mode sae_lens_training_version sae_lens_version
        save_final_checkpoint scale_sparsity_penalty_by_decoder_norm seed sequence_separator_token
        store_batch_size store_batch_size_prompts streaming tokens_per_buffer topk_threshold_lr
        total_training_steps total_training_tokens train_batch_size train_batch_size_tokens training_tokens
        use_cached_activations use_ghost_grads use_sparse_activations verbose wandb_entity wandb_id
        wandb_log_frequency wandb_project
        """
    ),
    "sparsify": _names(
        """
        multi_topk normalize_decoder
        """
    ),
}


def read_options(options: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What the options say of an autoencoder: fields of `SparseAutoencoder`, `d_in` and `d_sae` where they are there.

    Args:
        options: the content of `cfg.json`.
        path: the folder, for messages; that of `sparsify` names the layer.

    Returns:
        Field -> value.

    Raises:
        ConceptError: an option that is not supported, not known, or of the wrong kind; it is named.
    """
    kind = "sparsify" if _is_of_sparsify(options) else "sae_lens"
    metadata = options.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ConceptError(f"{path}: metadata is no object")
    known = HONOURED[kind] | HARMLESS[kind] | set(REFUSED[kind])
    strange = sorted(set(metadata) - known)
    if strange:
        warn(f"{path}: passes over what metadata says of {', '.join(strange)}")
    _require_known({**{name: metadata[name] for name in set(metadata) & known}, **options}, kind, path)
    _note_model(
        options.get("model_from_pretrained_kwargs") or metadata.get("model_from_pretrained_kwargs"), path
    )
    if kind == "sparsify":
        return _of_sparsify(options, path)
    return _of_sae_lens({**metadata, **options}, path)


def _is_of_sparsify(options: Mapping[str, Any]) -> bool:
    marks = {
        "architecture",
        "metadata",
        "d_sae",
        "hook_name",
        "hook_point",
        "activation_fn_str",
        "activation_fn",
    }
    return "expansion_factor" in options and not marks & set(options)


def _require_known(options: Mapping[str, Any], kind: str, path: Path) -> None:
    for name, value in options.items():
        if name in HONOURED[kind] or name in HARMLESS[kind]:
            continue
        harmless, why = REFUSED[kind].get(
            name,
            (
                lambda value: value in _OFF,
                "it is not known what this option does to features; take it out of cfg.json if that is nothing",
            ),
        )
        if not harmless(value):
            raise ConceptError(f"{path}: {name} {value!r}: {why}")


def _note_model(loading: Mapping[str, Any] | None, path: Path) -> None:
    """Note how the model was loaded that it was made for, where that may be another model than the plain one."""
    others = sorted(
        name for name, value in (loading or {}).items() if name not in _LOADING and value not in _OFF
    )
    if others:
        warn(f"{path}: made for a model that was loaded with {', '.join(others)}; see that yours is the same")


def _of_sae_lens(options: Mapping[str, Any], path: Path) -> dict[str, Any]:
    named = str(options.get("architecture") or "standard")
    function = options.get("activation_fn_str") or options.get("activation_fn") or "relu"
    if named == "standard" and function == "topk":
        named = "topk"
    if named not in _ARCHITECTURES:
        raise ConceptError(
            f"{path}: architecture {named!r} is not supported; there are {', '.join(_ARCHITECTURES)}"
        )
    if function not in ("relu", "topk") or (function == "topk") > (named == "topk"):
        raise ConceptError(
            f"{path}: activation_fn_str {function!r} is not supported in a {named} autoencoder"
        )
    extra = dict(options.get("activation_fn_kwargs") or {})
    k = extra.pop("k", None)
    if extra:
        raise ConceptError(f"{path}: activation_fn_kwargs {extra!r}: not supported; only k is")
    normalisation = options.get("normalize_activations") or "none"
    if normalisation in ("expected_average_only_in", True):
        raise ConceptError(f"{path}: normalize_activations {normalisation!r}: {_FOLD}")
    found: dict[str, Any] = {
        "activation": _ARCHITECTURES[named],
        "normalisation": normalisation,
        "subtract_decoder_bias": _switch(options, "apply_b_dec_to_input", path, default=True),
        "base_fingerprint": options.get("aitia_base_fingerprint"),
        "training": options.get("aitia_training") or {},
        "site": options.get("aitia_site") or _site(options, path),
        "d_in": options.get("d_in"),
        "d_sae": options.get("d_sae"),
    }
    if found["activation"] == "topk":
        found["k"] = _whole("k", options.get("k") if k is None else k, path)
        found["scale_by_decoder"] = _switch(options, "rescale_acts_by_decoder_norm", path, default=False)
    return found


def _of_sparsify(options: Mapping[str, Any], path: Path) -> dict[str, Any]:
    activation = options.get("activation", "topk")
    if activation != "topk":
        raise ConceptError(f"{path}: activation {activation!r} is not supported; only topk is")
    width = options.get("d_in")
    features = options.get("num_latents") or (None if width is None else width * options["expansion_factor"])
    layer = _LAYER.fullmatch(path.name)
    return {
        "activation": "topk",
        "k": _whole("k", options.get("k"), path),
        "site": f"resid_post.{layer[1]}" if layer else None,
        "d_in": width,
        "d_sae": features,
    }


def _site(options: Mapping[str, Any], path: Path) -> str | None:
    """`blocks.19.hook_resid_post` is `resid_post.19`, and so is `blocks.20.hook_resid_pre`."""
    hook = options.get("hook_name") or options.get("hook_point")
    if hook is None:
        return None
    match = _HOOK.fullmatch(hook)
    layer = None if match is None else int(match[1]) - (match[2] == "pre")
    if match is None or layer is None or layer < 0:
        raise ConceptError(
            f"{path}: made for {hook}; only the residual stream after a block is supported "
            "(blocks.N.hook_resid_post, or blocks.N+1.hook_resid_pre)"
        )
    for name in ("hook_layer", "hook_point_layer"):
        if options.get(name) not in (None, int(match[1])):
            raise ConceptError(f"{path}: {name} {options[name]!r}, but it is made for {hook}; mend cfg.json")
    return f"resid_post.{layer}"


def _switch(options: Mapping[str, Any], name: str, path: Path, *, default: bool) -> bool:
    value = options.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ConceptError(f"{path}: {name} {value!r}: must be true or false")
    return value


def _whole(name: str, value: Any, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 1:
        raise ConceptError(f"{path}: {name} {value!r}: must be a whole number, at least 1")
    return int(value)
