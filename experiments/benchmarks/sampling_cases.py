"""Models and prompts that `sampling.py` measures with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from maxent_ray.shipped import embedded_folder
from maxent_ray.tasks import Grade, Prompt

VOCABULARY = 32_000
_ENDS = VOCABULARY // 50
"""Words that end a completion: one in fifty, so that lengths are spread as a trained model's are."""
_PROMPT_WORDS = (8, 40)


@dataclass(frozen=True)
class Case:
    """A model, a task and the size of a batch."""

    model: str
    task: str
    prompts: int
    group_size: int
    max_new_tokens: int

    def settings(self) -> dict[str, Any]:
        """Settings of a run of ours that stays where it starts."""
        return {
            "policy.model": self.model,
            "task.name": self.task,
            "grpo.prompts_per_step": self.prompts,
            "grpo.group_size": self.group_size,
            "grpo.max_new_tokens": self.max_new_tokens,
            "grpo.learning_rate": 1e-12,
        }


def embedded_case() -> Case:
    """The shipped policy on Countdown."""
    return Case(str(embedded_folder("embedded:countdown_small")), "countdown_small", 24, 8, 14)


def words_case(folder: Path) -> Case:
    """Two layers of width 256 with a vocabulary of 32,000 words and random weights, written to a folder."""
    write_words_model(folder)
    return Case(str(folder), f"{__name__}:Words", 2, 8, 128)


def write_words_model(folder: Path) -> None:
    """Write the model and its tokenizer; the same weights every time."""
    words = ["<pad>", "<end>", *(f"w{number}" for number in range(2, VOCABULARY))]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", padding_side="left"
    ).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=[1, *range(VOCABULARY - _ENDS + 1, VOCABULARY)],
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)


class Words:
    """Prompts of random words; the reward is that of the completion's length."""

    name = "words"

    def __init__(self, held_out_count: int = 0, seed: int = 0) -> None:
        generator = random.Random(seed)
        prompts = [Prompt(" ".join(_words(generator))) for _ in range(256 + held_out_count)]
        self.train: Sequence[Prompt] = prompts[held_out_count:]
        self.held_out: Sequence[Prompt] = prompts[:held_out_count]

    def grade(self, prompt: Prompt, completion: str) -> Grade:
        """Reward short completions."""
        return Grade(1 / (1 + len(completion.split())))


def _words(generator: random.Random) -> list[str]:
    return [f"w{generator.randrange(2, VOCABULARY - _ENDS)}" for _ in range(generator.randint(*_PROMPT_WORDS))]
