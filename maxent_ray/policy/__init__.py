"""Policies: load a causal language model, sample groups of completions from it, score them."""

from maxent_ray.policy.adapters import adapters_off, add_adapters, load_trained_state, merged_copy, trained_state
from maxent_ray.policy.chat import for_chats, write_chat
from maxent_ray.policy.encoding import check_prompts, encode_prompts
from maxent_ray.policy.loading import (
    Policy,
    frozen_copy,
    load_policy,
    parameter_count,
    save_policy,
)
from maxent_ray.policy.rollout import Rollout, sample_groups
from maxent_ray.policy.scoring import (
    TokenScores,
    completion_logits,
    full_logprobs,
    k3_kl,
    score,
    sequence_mean,
    token_entropy,
    token_kl,
    token_logprobs,
)
from maxent_ray.policy.token_values import Predictions, TokenValues, predict, sampled_logprobs, token_values
from maxent_ray.shipped import EMBEDDED

__all__ = [
    "EMBEDDED",
    "Policy",
    "Predictions",
    "Rollout",
    "TokenScores",
    "TokenValues",
    "adapters_off",
    "add_adapters",
    "check_prompts",
    "completion_logits",
    "encode_prompts",
    "for_chats",
    "frozen_copy",
    "full_logprobs",
    "k3_kl",
    "load_policy",
    "load_trained_state",
    "merged_copy",
    "parameter_count",
    "predict",
    "sample_groups",
    "sampled_logprobs",
    "save_policy",
    "score",
    "sequence_mean",
    "token_entropy",
    "token_kl",
    "token_logprobs",
    "token_values",
    "trained_state",
    "write_chat",
]
