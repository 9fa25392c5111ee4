"""Data as tasks: prompts are rows of a file or of a data set, and reward functions grade."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from maxent_ray.core.field_types import shown
from maxent_ray.errors import TaskError
from maxent_ray.tasks.base import Grade, Prompt
from maxent_ray.tasks.options import DatasetOptions, HubOptions
from maxent_ray.tasks.rewards import RewardBatch, Rewards
from maxent_ray.tasks.row_prompt import RowPrompt, Write, is_chat, row_of, write_all
from maxent_ray.tasks.rows import Row, read_dataset, read_json_lines
from maxent_ray.tasks.split import split_prompts

_NOT_HANDED = ("prompt", "completion", "completion_ids")
"""Columns that TRL hands to no reward: it has ``prompts`` and ``completions`` for them."""
_TAKEN = ("prompts", "completions")
_log = logging.getLogger(__name__)


class DatasetTask:
    """Prompts and columns of rows, graded by reward functions.

    The split is by a hash of the prompts, so that it is the same wherever the data lies. An answer is correct when its
    reward is above ``correct_above``; its mode is then its text without white space around it. So modes are distinct
    texts, not distinct solutions: coverage is unknown, and ``mode_entropy`` is not told.

    Args:
        name: of the task.
        rows: all rows, with equal columns.
        options: columns, rewards and limits.
        held_out_count: number of prompts for evaluation.
        seed: of the split.

    Raises:
        ConfigError: a reward cannot be imported, or needs a column that is missing.
        TaskError: the prompts' column is missing or holds something else, or there are too few prompts.

    Example:
        >>> rows = [Row(f"line {i}", {"prompt": f"{i}+{i}=", "answer": 2 * i}) for i in range(9)]
        >>> task = DatasetTask("sums", rows, DatasetOptions(rewards=["math_verify"]), held_out_count=3, seed=0)
        >>> len(task.train), len(task.held_out)
        (6, 3)
    """

    tells_modes = False

    def __init__(
        self, name: str, rows: Sequence[Row], options: DatasetOptions, *, held_out_count: int, seed: int
    ) -> None:
        self.name = name
        if not rows:
            raise TaskError(f"{name} has no rows")
        prompts = [read_prompt(row, options.prompt) for row in rows]
        if len({prompt.chat is None for prompt in prompts}) > 1:
            raise TaskError(f"{name} has texts and chats in column {options.prompt!r}; it must be one of the two")
        self._options = options
        self._rewards = Rewards(
            options.rewards, options.weights, limit_s=options.time_limit_s, columns=prompts[0].columns
        )
        split = split_prompts(
            name, _once(name, prompts), None, held_out_count=held_out_count, salt=f"dataset:{seed}"
        )
        self.held_out: Sequence[Prompt] = split.held_out
        self.train: Sequence[Prompt] = split.train

    @property
    def has_chats(self) -> bool:
        """True where prompts are lists of messages."""
        return is_chat(self.held_out)

    def written(self, write: Write) -> DatasetTask:
        """The same task with every chat written as text.

        Raises:
            TaskError: two prompts become one text.
        """
        task = copy.copy(self)
        task.held_out, task.train = write_all(self.name, (self.held_out, self.train), write)
        return task

    def grade(self, prompt: Prompt, completion: str) -> Grade:
        """Grade one completion; as :meth:`grade_batch`."""
        return self.grade_batch([prompt], [completion])[0]

    def grade_batch(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Grade]:
        """Grade N completions by one call of every reward function.

        Raises:
            TaskError: a reward fails, hangs, or returns no reward.
        """
        rows = [row_of(prompt) for prompt in prompts]
        batch = RewardBatch(
            prompts=[row.asked for row in rows],
            completions=[row.answered(text) for row, text in zip(rows, completions, strict=True)],
            columns={name: [row.columns[name] for row in rows] for name in rows[0].columns},
            asked=[row.text for row in rows],
        )
        rewards = self._rewards.of(batch)
        return [self._graded(reward, text) for reward, text in zip(rewards, completions, strict=True)]

    def _graded(self, reward: float, text: str) -> Grade:
        return Grade(reward, text.strip() if reward > self._options.correct_above else None)


def jsonl_task(source: str, *, held_out_count: int, seed: int, **kwargs: Any) -> DatasetTask:
    """The task ``jsonl:PATH``; keyword arguments as :class:`DatasetOptions`."""
    options = DatasetOptions(**kwargs)
    rows = read_json_lines(source)
    return DatasetTask(f"jsonl:{source}", rows, options, held_out_count=held_out_count, seed=seed)


def hf_task(source: str, *, held_out_count: int, seed: int, **kwargs: Any) -> DatasetTask:
    """The task ``hf:PATH-or-name``; keyword arguments as :class:`HubOptions`."""
    options = HubOptions(**kwargs)
    rows = read_dataset(source, options)
    return DatasetTask(f"hf:{source}", rows, options, held_out_count=held_out_count, seed=seed)


def read_prompt(row: Row, column: str) -> RowPrompt:
    """Read a row's prompt, a text or a chat, and the columns that rewards get.

    Raises:
        TaskError: the column is missing or holds something else, or another has a name that rewards get anyway.

    Example:
        >>> read_prompt(Row("line 1", {"prompt": "1+1=", "answer": 2}), "prompt").columns
        {'answer': 2}
        >>> read_prompt(Row("line 1", {"question": "1+1="}), "prompt")
        Traceback (most recent call last):
        maxent_ray.errors.TaskError: line 1 has no column 'prompt'; set task.kwargs.prompt to one of: question
    """
    if column not in row.values:
        there = ", ".join(row.values) or "none"
        raise TaskError(f"{row.place} has no column {column!r}; set task.kwargs.prompt to one of: {there}")
    for name in _TAKEN:
        if name in row.values:
            raise TaskError(f"{row.place} has a column {name!r}, a name that rewards get all answers by; rename it")
    columns = {name: value for name, value in row.values.items() if name not in _NOT_HANDED}
    value = row.values[column]
    if not isinstance(value, str) and not _is_messages(value):
        needed = "it must hold a text, or a list of messages with the texts role and content"
        raise TaskError(f"{row.place}: column {column!r} holds {shown(value)}; {needed}")
    return RowPrompt.of(value, columns)


def _is_messages(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_message, value))


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("role", "content"))


def _once(name: str, prompts: Iterable[RowPrompt]) -> list[RowPrompt]:
    """The first row of every prompt: with two, one might be held out and the other trained on."""
    given = list(prompts)
    first = list({prompt.text: prompt for prompt in reversed(given)}.values())[::-1]
    if len(first) < len(given):
        _log.warning("%s: %d of %d rows repeat a prompt and are left out", name, len(given) - len(first), len(given))
    return first
