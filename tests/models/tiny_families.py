"""Tiny models of every causal-language-model family of the installed `transformers`, from their configurations.

Nothing is listed by hand but what a configuration does not say itself: a family's sizes are set by what their
fields are called, lists that have one entry a block are cut to the blocks there are, parts (a text model inside a
model that sees) are made tiny in the same way, and `STUBBORN` holds the rest.
"""

from __future__ import annotations

from typing import Any

_WIDTH = (
    "hidden_size",
    "n_embd",
    "d_model",
    "embed_dim",
    "dim",
    "word_embed_proj_dim",
    "emb_dim",
    "lru_width",
)
_LAYERS = (
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "decoder_layers",
    "encoder_layers",
    "depth",
)
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads")
_FEED_FORWARD = (
    "intermediate_size", "ffn_dim", "n_inner", "decoder_ffn_dim", "ffn_hidden_size", "dff", "dim_ff", "d_inner",
)  # fmt: skip
_POSITIONS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "context_length",
    "seq_length",
)
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "moe_top_k")

SIZES: dict[str, Any] = {
    **dict.fromkeys(_WIDTH, 32),
    **dict.fromkeys(_HEADS, 4),
    **dict.fromkeys(_FEED_FORWARD, 48),
    **dict.fromkeys(_POSITIONS, 128),
    **dict.fromkeys(_EXPERTS, 4),
    **dict.fromkeys(_CHOSEN, 2),
    "num_key_value_heads": 2,
    "head_dim": 8,
    "d_kv": 8,
    "dim_head": 8,
    "d_head": 8,
    "kv_channels": 8,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "sliding_window": 8,
    "rotary_dim": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "index_n_heads": 2,
    "index_head_dim": 16,
    "index_topk": 64,
    "n_group": 2,
    "num_expert_group": 2,
    "topk_group": 1,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
    "shared_intermediate_size": 24,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "state_size": 8,
    "ssm_state_size": 8,
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_d_head": 16,
    "mamba_n_heads": 4,
    "mamba_num_heads": 4,
    "mamba_head_dim": 16,
    "mamba_d_ssm": 64,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 8,
    "mamba_dt_rank": 4,
    "chunk_size": 8,
    "time_step_rank": 4,
    "attention_window_size": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "hidden_size_per_layer_input": 8,
    "image_size": 16,
    "patch_size": 8,
}

_INKLING = {"rel_extent": 16, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "swa_head_dim": 8}

# What a family's configuration needs beside the sizes, or with another value.
STUBBORN: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    "blt": {"encoder_hash_byte_group_vocab": 100},
    "cohere_compass_text": {
        "layer_types": ["full_attention", "sliding_attention"] * 2,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10000.0}
            for kind in ("full_attention", "sliding_attention")
        },
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 10000.0},
        "ffn_config": {
            "ffn_hidden_size": 48,
            "moe_num_experts": 4,
            "moe_top_k": 2,
            "ffn_act_fn": {"name": "silu"},
        },
    },
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "dots3_note_text": {"num_key_value_heads": 4, "head_dim": 16, "per_layer_config": {}},
    "gemma3n_text": {
        "layer_types": ["full_attention"] * 4,
        "num_kv_shared_layers": 0,
        "activation_sparsity_pattern": [0.0] * 4,
        "laurel_rank": 4,
    },
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
    },
    "gpt_neo": {
        "attention_types": [[["global", "local"], 2]],
        "attention_layers": ["global", "local"] * 2,
        "window_size": 8,
    },
    "inkling_text": _INKLING,
    "inkling2_text": _INKLING | {"unpadded_vocab_size": 395},
    "inkling2_loop_text": _INKLING
    | {
        "unpadded_vocab_size": 395,
        "n_layers_per_attn_res_block": 1,
        "loop_layer_index_start": 1,
        "loop_layer_index_end": 3,
    },
    "kimi_linear": {"linear_head_dim": 8, "linear_num_heads": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    "longcat_flash": {"expert_ffn_hidden_size": 24, "zero_expert_num": 2},
    "mamba2": {"num_heads": 8, "n_groups": 2},
    "nemotron_h": {"n_groups": 2},
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 4,
        "hc_lowrank": 4,
        "output_gate_type": "sigmoid",
    },
    "reformer": {
        "is_decoder": True,
        "axial_pos_shape": [8, 16],
        "axial_pos_embds_dim": [16, 16],
        "attention_head_size": 8,
        "feed_forward_size": 48,
    },
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
}

_DECODER = "the decoder of an encoder-decoder model, which is not trained by itself"

# Families of the mapping that are not tried, and why.
OTHERS: dict[str, str] = {
    **dict.fromkeys(
        (
            "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "marian", "mbart", "mvp", "pegasus", "plbart",
            "prophetnet", "trocr", "whisper",
        ),
        _DECODER,
    ),
    "dots3_note": "its default configuration cannot be made tiny; its text model is tried",
    "gemma3n": "needs the package `timm`; its text model is tried",
    "gemma4_assistant": "drafts tokens for another model, whose states it needs",
    "git": "writes captions; its own loss cannot be taken on text alone",
    "musicgen": "makes sound; has no configuration of its own",
    "musicgen_melody": "makes sound; has no configuration of its own",
}  # fmt: skip

_BOTH_WAYS = "depends on later tokens"
_STREAMS = "one residual stream [batch, time, width] would be"

# Families that are refused, and a part of the message.
REFUSED: dict[str, str] = {
    **dict.fromkeys(
        (
            "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert",
            "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl",
        ),
        _BOTH_WAYS,
    ),
    **dict.fromkeys(
        ("cpmant", "deepseek_v4", "gemma3n_text", "hy_v4", "qwen4_exp", "qwen4_exp_text", "xlnet"), _STREAMS
    ),
    "blt": "expected one list of None transformer blocks, found 0",
    "dory": "block 0 is run 2 times in one pass",
    "gemma4_unified_assistant": "cannot be run on tokens alone",
    "hrm_text": "expected one list of 32 transformer blocks, found 0",
    "inkling2_loop_text": "block 1 is run 3 times in one pass",
    "mllama": "block 3 is not run on text alone",
    "reformer": "no gradient can be taken through block 1",
    "xlm": "expected one list of 4 transformer blocks, found 4",
    "xmod": "cannot be run on tokens alone",
}  # fmt: skip

# Tried in every run of the tests; the others are slow.
FAST = (
    "bert", "bloom", "deepseek_v3", "gemma3", "gemma3n_text", "llama4_text", "mamba", "olmo2", "opt", "phimoe",
    "qwen2_moe", "zamba",
)  # fmt: skip

# Here the first of `hidden_states` is what the first block gives, and not the embeddings.
WITHOUT_EMBEDDINGS = frozenset({"falcon_mamba", "mamba", "mamba2", "rwkv"})


def families() -> dict[str, str]:
    """Family -> class, of every causal language model that `transformers` knows and that is tried."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return {name: kind for name, kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items() if name not in OTHERS}


def tiny_settings(plain: Any, vocabulary: int, layers: int) -> dict[str, Any]:
    """The fields of a configuration that make it tiny, its parts' among them."""
    sizes = SIZES | dict.fromkeys(_LAYERS, layers)
    sizes |= {"vocab_size": vocabulary, "vocab_size_per_layer_input": vocabulary}
    values = {
        name: value
        for name, value in vars(plain).items()
        if not name.startswith("_") and name not in plain.attribute_map
    }
    if values.get("kv_lora_rank"):  # compressed keys and values are made for every head
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    chosen = {name: sizes[name] for name in values if name in sizes}
    depth = next((values[name] for name in _LAYERS if isinstance(values.get(name), int)), None)
    for name, value in values.items():
        if isinstance(value, list | tuple) and len(value) == depth:  # one entry a block
            chosen.setdefault(name, (list(dict.fromkeys(value)) * layers)[:layers])
    for name in getattr(plain, "sub_configs", None) or {}:
        part = getattr(plain, name, None)
        if hasattr(part, "attribute_map"):
            chosen[name] = tiny_settings(part, vocabulary, layers)
    return chosen | STUBBORN.get(plain.model_type, {})


def tiny_config(family: str, vocabulary: int, *, layers: int = 4) -> Any:
    """A tiny configuration of a family."""
    from transformers import AutoConfig

    plain = AutoConfig.for_model(family)
    return type(plain)(**tiny_settings(plain, vocabulary, layers))


def tiny_network(family: str, vocabulary: int, *, layers: int = 4, seed: int = 0) -> Any:
    """A tiny network of a family with random weights, large enough that nothing is lost in rounding."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    network = AutoModelForCausalLM.from_config(tiny_config(family, vocabulary, layers=layers))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.15)
    return network.eval()
