"""Families of models: each works, and its log-probabilities are those of each sequence alone, or is refused.

The page docs/reference/models.md says which; it is checked here. Most families are tested in `make test-all` only.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedModel

from maxent_ray.policy import Policy, load_policy, predict, sample_groups, score
from maxent_ray.policy.output_head import output_head, shares_prompts
from tests.policy.families import COMMON, FAMILIES, PAGE, documented_rows, measured_row, write_model

CPU = torch.device("cpu")
PROMPTS = ["3=3:", "2,3,4=9:", "10,11,12,13,14,15,16,17,18,19,20=10:"]
"""The last is longer than twice the sliding windows."""
EACH_FAMILY = [
    pytest.param(family, marks=[] if family in COMMON else pytest.mark.slow) for family in sorted(FAMILIES)
]


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_a_family_works_or_is_refused_as_documented(family: str, tmp_path: Path) -> None:
    row = measured_row(family, tmp_path)
    assert documented_rows()[family] == row
    if row.endswith("yes |"):
        check_against_single_sequences(load_policy(str(tmp_path), device=CPU))


def check_against_single_sequences(policy: Policy) -> None:
    """Oracle: each sampled sequence alone, in a plain forward pass without padding, cache and position numbers."""
    model = policy.model
    rollout = sample_groups(policy, PROMPTS, group_size=2, max_new_tokens=6, temperature=0.7, seed=1)
    greedy = sample_groups(policy, PROMPTS, group_size=2, max_new_tokens=6, temperature=1e-6, seed=1)
    params = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        scores = score(model, rollout, temperature=0.7)
        torch.testing.assert_close(score(model, rollout, temperature=0.7, params=params), scores)
        for given in (None, params):
            predictions = predict(model, rollout, temperature=0.7, params=given)
            mask = rollout.completion_mask
            torch.testing.assert_close(predictions.full_logprobs[mask], scores.full_logprobs[mask], rtol=0, atol=1e-4)
        for row in range(6):
            count = int(rollout.completion_mask[row].sum())
            real = rollout.input_ids[row][rollout.attention_mask[row].bool()]
            alone = logprobs(model, real, 0.7)[-count:]
            torch.testing.assert_close(scores.full_logprobs[row, :count], alone, rtol=0, atol=1e-3)
            chosen = alone.gather(-1, real[-count:, None])[:, 0]
            torch.testing.assert_close(scores.logprobs[row, :count], chosen, rtol=0, atol=1e-3)
            # In the limit of low temperature sampling takes the most probable token; so far its own cache may round.
            count = int(greedy.completion_mask[row].sum())
            real = greedy.input_ids[row][greedy.attention_mask[row].bool()]
            alone = logprobs(model, real, 1.0)[-count:]
            assert bool((alone.gather(-1, real[-count:, None])[:, 0] > alone.amax(-1) - 0.02).all())


def logprobs(model: PreTrainedModel, sequence: torch.Tensor, temperature: float) -> torch.Tensor:
    """Of the token after each one but the last."""
    return (model(sequence[None]).logits[0, :-1].float() / temperature).log_softmax(-1)


def test_the_page_lists_these_families_and_no_others() -> None:
    known = {config.model_type for config in MODEL_FOR_CAUSAL_LM_MAPPING}
    assert list(documented_rows()) == sorted(FAMILIES)
    assert set(FAMILIES) <= known
    assert set(FAMILIES) >= COMMON


@pytest.mark.slow
def test_the_page_lists_those_whose_logits_are_formed_at_once_and_counts_those_that_share(tmp_path: Path) -> None:
    whole, sharing = [], 0
    for family in (family for family, row in documented_rows().items() if row.endswith("| yes |")):
        folder = tmp_path / family
        write_model(family, folder)
        model = load_policy(str(folder), device=CPU).model
        head = output_head(model)
        if head is None:
            whole.append(family)
        else:
            sharing += shares_prompts(model, head)
    *others, last = (f"`{family}`" for family in whole)
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"{', '.join(others)} and {last} scale or cap" in page
    working = sum(row.endswith("| yes |") for row in documented_rows().values())
    assert f"all that a family keeps of it ({sharing} of the {working})" in page


def test_the_readme_counts_them() -> None:
    working = sum(row.endswith("| yes |") for row in documented_rows().values())
    readme = (PAGE.parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"[{working} of {len(FAMILIES)} families do](docs/reference/models.md)" in readme


@pytest.mark.parametrize("family", ["bloom", "gemma2", "gpt_oss", "lfm2", "mamba", "mixtral", "mpt", "qwen3_next"])
def test_second_derivatives_exist_without_sdpa_and_with_states(family: str, tmp_path: Path) -> None:
    """As the unroll takes them: through `params`."""
    write_model(family, tmp_path)
    policy = load_policy(str(tmp_path), device=CPU)
    rollout = sample_groups(policy, PROMPTS[:2], group_size=2, max_new_tokens=3, temperature=1.0, seed=0)
    params = {name: p.detach().clone().requires_grad_() for name, p in policy.model.named_parameters()}
    with sdpa_kernel(SDPBackend.MATH):
        loss = -score(policy.model, rollout, params=params).logprobs.mean()
        first = torch.autograd.grad(loss, list(params.values()), create_graph=True, allow_unused=True)
        slope = sum(gradient.square().sum() for gradient in first if gradient is not None)
        second = torch.autograd.grad(slope, list(params.values()), allow_unused=True)
    values = [gradient for gradient in second if gradient is not None]
    assert all(bool(gradient.isfinite().all()) for gradient in values)
    assert any(bool(gradient.any()) for gradient in values)
