"""Write a language model of a real shape with random weights, where none can be downloaded.

    python experiments/make_llm.py --shape qwen2.5-0.5b models/qwen     # 494 M parameters, 1 GB
    python experiments/make_llm.py --shape tiny models/tiny             # two layers, for machines without a GPU

The folder is that of a Hugging Face model: ``policy.model=./models/qwen``. Its tokenizer has Qwen's special tokens and
chat template, and merges of bytes that were learned from the prompts of a configuration's task. With ``--practice 400``
the model is first trained on answers to the task's training prompts, so that some of what it samples is right.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from llm_practice import practise
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from maxent_ray.cli.exit_status import ExitStatus
from maxent_ray.config.loading import load_config
from maxent_ray.errors import ConfigError, MaxentRayError
from maxent_ray.policy import Policy, parameter_count, save_policy
from maxent_ray.tasks.reasoning_gym import ReasoningGym
from maxent_ray.tasks.row_prompt import row_of
from maxent_ray.train.run_task import build_run_task

CONFIG = Path(__file__).parent / "configs" / "llm_lora.yaml"
SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-0.5b": {
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32_768,
    },
    "tiny": {
        "vocab_size": 1024,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    },
}
MERGED_TOKENS = 900  # most of the tokenizer's; a model has rows for more, as Qwen's own
END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE with a token for each digit, Qwen's special tokens, and a chat template of the same form."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    digits, parts = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, parts])
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=MERGED_TOKENS, show_progress=False, initial_alphabet=alphabet)
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[START],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_model(shape: str, tokenizer: PreTrainedTokenizerFast, device: torch.device) -> Qwen2ForCausalLM:
    """Random weights, seeded by the caller; embeddings and output head are one."""
    ends = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    config = Qwen2Config(
        **SHAPES[shape],
        tie_word_embeddings=True,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with device:
        model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    return model


def read_task(file: Path, overrides: Sequence[str]) -> ReasoningGym:
    """The task of a configuration, whose rows have a question and an answer."""
    task = build_run_task(load_config(file, overrides))
    if not isinstance(task, ReasoningGym):
        raise ConfigError(f"task.name is {task.name!r}; tokenizer and practice are made for reasoning_gym:NAME")
    return task


def make_llm(shape: str, output: Path, task: ReasoningGym, steps: int, batch: int, seed: int) -> None:
    """Make, train and write: the whole folder or none.

    Raises:
        ConfigError: there is something of that name, or a number is out of range.
    """
    for option, value, least in (("--practice", steps, 0), ("--batch", batch, 1)):
        if value < least:
            raise ConfigError(f"{option} is {value}; it must be >= {least}")
    if output.exists():
        raise ConfigError(f"OUTPUT is {str(output)!r}, which exists; remove it, or name another folder")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = [row_of(prompt).columns for prompt in task.train]
    tokenizer = build_tokenizer([row["question"] for row in rows])
    print(f"tokenizer: {len(tokenizer)} tokens, from {len(rows)} prompts of {task.name}", flush=True)
    torch.manual_seed(seed)
    model = build_model(shape, tokenizer, device)
    print(f"model: {parameter_count(model):,} parameters, random, on {device}", flush=True)
    if steps:
        practise(model, tokenizer, [(row["question"], row["answer"]) for row in rows], steps, batch, seed)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as partial:
        folder = Path(partial) / output.name
        save_policy(Policy(model.to(torch.bfloat16).eval(), tokenizer, str(output)), folder)
        folder.rename(output)
    size = sum(file.stat().st_size for file in output.iterdir())
    print(f"{output}: {size / 1e6:,.1f} MB; train it with policy.model={output.absolute()}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a model as the command line says; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="folder to write")
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE", help="settings over those of the file")
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--config", type=Path, default=CONFIG, help="whose task it is for (default: %(default)s)")
    parser.add_argument("--practice", type=int, default=0, metavar="STEPS", help="supervised steps (default: none)")
    parser.add_argument("--batch", type=int, default=64, help="examples of a supervised step (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and practice (default: %(default)s)")
    options = parser.parse_intermixed_args(arguments)
    try:
        task = read_task(options.config, options.overrides)
        make_llm(options.shape, options.output, task, options.practice, options.batch, options.seed)
    except MaxentRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitStatus.of(error)
    except OSError as error:
        print(f"error: cannot write {str(options.output)!r}: {error.strerror or error}", file=sys.stderr)
        return ExitStatus.RUN_FAILED
    return ExitStatus.SUCCESS


if __name__ == "__main__":
    sys.exit(main())
