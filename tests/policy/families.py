"""Tiny models of the families that transformers has, with random weights, in folders that `load_policy` reads.

As a program: writes the rows of the table in docs/reference/models.md.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from maxent_ray.errors import PolicyLoadError
from maxent_ray.policy import load_policy
from maxent_ray.policy.tokenizer import build_character_tokenizer

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "models.md"
NOT_SET = object()
_SMALL: dict[str, Any] = {
    # the vocabulary is that of the character tokenizer
    "vocab_size": 24,
    "vocab_size_per_layer_input": 24,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 23,
    "initializer_range": 0.3,  # large: with near-uniform distributions no mistake would show
    "init_std": 0.3,
    "max_position_embeddings": 64,
    # width and depth
    "hidden_size": 32,
    "d_model": 32,
    "intermediate_size": 48,
    "n_inner": 48,
    "dff": 48,
    "d_inner": 48,
    "ffn_dim": 48,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "hidden_size_per_layer_input": 8,
    "num_hidden_layers": 2,
    "num_layers": 2,
    "n_layers": 2,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_attention_heads": 4,
    "n_heads": 4,
    "attention_heads": 4,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    # short, so that the tests pass them
    "sliding_window": 16,
    "attention_chunk_size": 16,
    "attention_window_size": 16,
    "window_size": 16,
    "local_attention": 16,
    "chunk_size": 16,
    "mamba_chunk_size": 16,
    "laurel_rank": 8,
    # low-rank attention
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    # experts
    "num_experts": 4,
    "n_routed_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    # states instead of keys
    "state_size": 8,
    "mamba_d_state": 8,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_num_heads": 4,
    "mamba_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
"""Settings of every family that has them."""
_HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
_CONVOLUTION = {"layer_types": ["conv", "full_attention"]}
_LOW_RANK = {"head_dim": NOT_SET, "num_key_value_heads": 4}
_TEXT = {name: value for name, value in _SMALL.items() if name in CONFIG_MAPPING["qwen3"]().to_dict()}
_VISION = {"hidden_size": 32, "intermediate_size": 32}
_DECODERS = """
apertus arcee beam biogpt bitnet bloom cohere cohere2 ctrl cwm diffllama doge ernie4_5 exaone4 flint gemma gemma2
gemma3_text glm glm4 gpt2 gpt_bigcode gpt_neox gpt_neox_japanese granite granite_swa helium hunyuan_v1_dense hyperclovax
internlm3 iquestcoder jais2 llama llama4_text ministral ministral3 mistral moshi mpt nanochat nemotron olmo olmo2 olmo3
openai-gpt opt persimmon phi phi3 qwen2 qwen3 seed_oss smollm3 stablelm starcoder2 vaultgemma whisper xglm
"""
_WITH_EXPERTS = """
afmoe aria_text cohere2_moe deepseek_v4 dots1 ernie4_5_moe exaone_moe flex_olmo glm4_moe gpt_oss granitemoe
granitemoe_swa granitemoeshared hunyuan_v1_moe hy_v3 jetmoe kolibri1 laguna mellum mimo_v2_flash minimax_m2 mixtral
olmoe phimoe qwen2_moe qwen3_moe solar_open
"""
_WITH_STATES = "falcon_mamba mamba minimax olmo_hybrid rwkv"
_ENCODERS_AND_HALVES_OF_ENCODER_DECODERS = """
bart bert bigbird_pegasus blenderbot camembert electra ernie marian mbart megatron-bert mvp pegasus plbart prophetnet
rembert roberta roformer xlm xlm-roberta
"""
_PLAIN = " ".join([_DECODERS, _WITH_EXPERTS, _WITH_STATES, _ENCODERS_AND_HALVES_OF_ENCODER_DECODERS])
FAMILIES: dict[str, dict[str, Any]] = {
    **{family: {} for family in _PLAIN.split()},
    "bailing_hybrid": {"layer_group_size": 2, "num_key_value_heads": 4},
    "bamba": {"attn_layer_indices": [1]},
    "codegen": {"rotary_dim": 4},
    "deepseek_v2": _LOW_RANK,
    "deepseek_v3": _LOW_RANK,
    "deepseek_v32": _LOW_RANK,
    "glm4_moe_lite": _LOW_RANK,
    "minicpm3": _LOW_RANK,
    "xlnet": {"n_head": 4, "num_attention_heads": NOT_SET},
    "youtu": _LOW_RANK,
    "falcon": {"head_dim": NOT_SET},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8},
    "gemma3": {
        "text_config": _TEXT,
        "vision_config": {**_VISION, "num_hidden_layers": 1, "num_attention_heads": 2},
    },
    "gemma3n_text": {"num_kv_shared_layers": 0, "layer_types": ["sliding_attention", "full_attention"]},
    "gemma4_text": {"global_head_dim": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {**_HYBRID, "linear_head_dim": 8, "linear_num_heads": 4, "num_key_value_heads": 4},
    "lfm2": _CONVOLUTION,
    "lfm2_moe": {**_CONVOLUTION, "num_dense_layers": 1},
    "lfm3": _CONVOLUTION,
    "longcat_flash": {
        "num_hidden_layers": NOT_SET,
        "num_layers": 1,
        "num_key_value_heads": 4,
        "ffn_hidden_size": 48,
        "expert_ffn_hidden_size": 16,
        "moe_topk": 2,
        "zero_expert_num": 1,
    },
    "mamba2": {"num_heads": 8, "n_groups": 1},
    "modernbert-decoder": {"cls_token_id": 1, "sep_token_id": 23},
    "nemotron_h": {
        "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"],
        "num_hidden_layers": NOT_SET,
        "n_groups": 2,
        "mamba_num_heads": 8,
        "ssm_state_size": 8,
        "moe_shared_expert_intermediate_size": 16,
    },
    "qwen3_5": {
        "text_config": {**_TEXT, **_HYBRID, **{name: _SMALL[name] for name in _SMALL if name.startswith("linear_")}},
        "vision_config": {**_VISION, "depth": 1, "num_heads": 2, "out_hidden_size": 32},
    },
    "qwen3_5_text": _HYBRID,
    "qwen3_5_moe_text": _HYBRID,
    "qwen3_next": _HYBRID,
    "recurrent_gemma": {"num_hidden_layers": 3},
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid"],
        "n_mamba_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": NOT_SET,
    },
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
}
"""Family (`model_type`) → further settings."""
COMMON = {
    *("bert", "bloom", "codegen", "deepseek_v3", "gemma2", "gpt2", "gpt_neo", "gpt_oss", "gptj", "jamba", "lfm2"),
    *("llama", "mamba", "marian", "minimax", "moshi", "mpt", "openai-gpt", "qwen3", "qwen3_next", "recurrent_gemma"),
    *("xglm", "zamba2"),
}
"""One of each kind, for the tests that run often."""


def write_model(family: str, folder: Path, **settings: Any) -> None:
    """Write a tiny model and its tokenizer."""
    kind = CONFIG_MAPPING[family]
    declared = kind().to_dict() | dict.fromkeys(kind.attribute_map)
    chosen = {name: value for name, value in _SMALL.items() if name in declared} | FAMILIES[family] | settings
    config = kind(**{name: value for name, value in chosen.items() if value is not NOT_SET})
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    build_character_tokenizer().save_pretrained(folder)


def measured_row(family: str, folder: Path) -> str:
    """Write, load and test a model: its row in the documentation's table."""
    write_model(family, folder)
    try:
        policy = load_policy(str(folder), device=torch.device("cpu"))
    except PolicyLoadError as error:
        reason = re.sub(r".* rightly: (.*?)(?: by [\d.e+-]+ nats a token)?; take .*", r"\1", str(error))
        return f"| `{family}` | | no: {reason} |"
    return f"| `{family}` | {policy.model.config._attn_implementation} | yes |"


def documented_rows() -> dict[str, str]:
    """Rows of the documentation's table, by family."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if re.match(r"\| `[\w-]+` \|.*\| (yes|no: .*) \|$", line)]
    return {row.split("`")[1]: row for row in rows}


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(FAMILIES):
        with tempfile.TemporaryDirectory() as place:
            print(measured_row(name, Path(place)), flush=True)
