"""Tasks of the package reasoning-gym: its generators by name, and its verifiers where they evaluate no answer."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from maxent_ray.errors import ConfigError
from maxent_ray.extras import require_for_setting
from maxent_ray.tasks.base import Grade, Prompt
from maxent_ray.tasks.reasoning_gym_graders import ONE_ANSWER, OWN_GRADERS, REFUSED, OwnGrader
from maxent_ray.tasks.row_prompt import RowPrompt, Write, is_chat, row_of, write_all
from maxent_ray.tasks.split import split_prompts

FULL_SCORE = 0.99
"""Verifiers give 1 for a right answer, and may give a part of it for a wrong one."""
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_NO_NUMBER = re.compile(r"e[+-]?[0-9_]{4,}|\b(?:nan|inf(?:inity)?)[ij]?\b", re.IGNORECASE)
"""Numbers that no verifier expects: one would be written out in full, to one that is none any answer is near."""


class ReasoningGym:
    """Prompts of one generator, which differ by text, graded from 0 to 1.

    The answer is what a completion has between its last ``<answer>`` and ``</answer>``, else all of it without white
    space around it. Verifiers grade it, but for those that would evaluate it as Python: see ``reasoning_gym_graders``.

    Modes are listed for n_queens, and for generators with one right answer; canonical for countdown and puzzle24;
    else distinct texts.

    Args:
        source: name of the generator.
        held_out_count: number of prompts for evaluation.
        seed: of generator and split.
        size: prompts to generate; those with the text of an earlier one are left out.
        chat: ask each as a chat of one message, written by the chat template of the policy's tokenizer.
        parameters: of the generator.

    Raises:
        ConfigError: the package is missing; there is no such generator, it refuses a parameter, or is refused itself.
        TaskError: there are too few different prompts.

    Example:
        >>> task = ReasoningGym("countdown", held_out_count=8, size=40, min_numbers=3, max_numbers=3)
        >>> len(task.train), len(task.held_out), task.tells_modes
        (32, 8, True)
    """

    def __init__(
        self,
        source: str,
        held_out_count: int = 256,
        seed: int = 0,
        size: int = 2000,
        chat: bool = False,
        **parameters: Any,
    ) -> None:
        self.name = f"reasoning_gym:{source}"
        self._dataset = _generator(source, {**parameters, "size": size, "seed": generator_seed(seed)})
        self._own = _own_grader(source, self._dataset)
        self.tells_modes = self._own is not None
        prompts = {prompt.text: prompt for prompt in (self._prompt(self._dataset[i], chat) for i in range(size))}
        split = split_prompts(
            self.name, prompts.values(), None, held_out_count=held_out_count, salt=f"{self.name}:{seed}"
        )
        self.held_out: Sequence[Prompt] = split.held_out
        self.train: Sequence[Prompt] = split.train

    @property
    def has_chats(self) -> bool:
        """True where they are asked as chats."""
        return is_chat(self.held_out)

    def written(self, write: Write) -> ReasoningGym:
        """The same task with every chat written as text."""
        task = copy.copy(self)
        task.held_out, task.train = write_all(self.name, (self.held_out, self.train), write)
        return task

    def grade(self, prompt: Prompt, completion: str) -> Grade:
        """Grade the answer in a completion; what its verifier fails on is wrong."""
        entry, answer = row_of(prompt).columns, read_answer(completion)
        if self._own is not None:
            return self._own.grade(answer, entry)
        if _NO_NUMBER.search(answer):
            return Grade(0.0)
        try:
            score = float(self._dataset.score_answer(answer, dict(entry)))
        except Exception:  # verifiers are written for answers that make some sense
            return Grade(0.0)
        return Grade(score, answer if score > FULL_SCORE else None)

    def _prompt(self, entry: Mapping[str, Any], chat: bool) -> RowPrompt:
        question = entry["question"]
        modes = frozenset[str]() if self._own is None else self._own.modes(entry)
        return RowPrompt.of([{"role": "user", "content": question}] if chat else question, entry, modes)


def read_answer(completion: str) -> str:
    """The answer in a completion.

    Example:
        >>> read_answer("so <answer> 4 </answer>"), read_answer(" 4 ")
        ('4', '4')
    """
    tagged = _ANSWER.findall(completion)
    return (tagged[-1] if tagged else completion).strip()


def generator_seed(seed: int) -> int:
    """Seed of a generator, whose prompt i is that of prompt 0 under seed + i: neighbouring seeds would share prompts.

    Example:
        >>> generator_seed(0), generator_seed(1)
        (1591577169, 158400500)
    """
    return int.from_bytes(hashlib.sha256(f"reasoning_gym:{seed}".encode()).digest()[:4]) >> 1


def _generator(name: str, parameters: Mapping[str, Any]) -> Any:
    setting = f"task.name is 'reasoning_gym:{name}'"
    require_for_setting(setting, "reasoning-gym", "0.1.25", "tasks")
    from reasoning_gym.factory import DATASETS, create_dataset

    if name in REFUSED:
        raise ConfigError(f"{setting}: {REFUSED[name]}; choose another generator")
    if name not in DATASETS:
        raise ConfigError(f"{setting}; generators: {', '.join(sorted(DATASETS.keys() - REFUSED.keys()))}")
    valid = [each.name for each in fields(DATASETS[name][1]) if each.name not in ("size", "seed")]
    for key in sorted(parameters.keys() - {*valid, "size", "seed"}):
        raise ConfigError(f"unknown key 'task.kwargs.{key}'. Valid keys here: chat, size, {', '.join(sorted(valid))}")
    try:
        return create_dataset(name, **parameters)
    except Exception as error:  # assertions of its own, above all
        given = ", ".join(f"{key}={value!r}" for key, value in parameters.items())
        raise ConfigError(f"{setting}: it refuses {given} ({error or type(error).__name__})") from error


def _own_grader(name: str, dataset: Any) -> OwnGrader | None:
    from reasoning_gym.dataset import ProceduralDataset

    if type(dataset).score_answer is ProceduralDataset.score_answer:
        return ONE_ANSWER
    return OWN_GRADERS.get(name)
