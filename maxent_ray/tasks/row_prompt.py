"""Prompts that carry their row of data, as text or as a chat."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from maxent_ray.core.field_types import shown
from maxent_ray.errors import TaskError
from maxent_ray.tasks.base import Message, Prompt

Write: TypeAlias = Callable[[Sequence[Message]], str]


@dataclass(frozen=True)
class RowPrompt(Prompt):
    """A prompt with the row that it comes from.

    Args:
        chat: messages, where the prompt is a chat; its text is JSON until a chat template has written it.
        columns: the row's values.

    Example:
        >>> prompt = RowPrompt.of([{"role": "user", "content": "2+3="}], {"answer": 5})
        >>> prompt.answered("5")
        [{'role': 'assistant', 'content': '5'}]
    """

    chat: tuple[Message, ...] | None = field(default=None, compare=False)
    columns: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls, asked: str | Sequence[Message], columns: Mapping[str, Any], modes: frozenset[str] = frozenset()
    ) -> RowPrompt:
        """Make the prompt of a text or of messages."""
        if isinstance(asked, str):
            return cls(asked, modes, columns=columns)
        return cls(json.dumps(list(asked), sort_keys=True), modes, chat=tuple(asked), columns=columns)

    @property
    def asked(self) -> str | list[dict[str, str]]:
        """The prompt as rewards get it."""
        return self.text if self.chat is None else [dict(message) for message in self.chat]

    def answered(self, text: str) -> str | list[dict[str, str]]:
        """A completion as rewards get it."""
        return text if self.chat is None else [{"role": "assistant", "content": text}]


def row_of(prompt: Prompt) -> RowPrompt:
    """The prompt as one that carries its row.

    Raises:
        TaskError: it carries none.
    """
    if not isinstance(prompt, RowPrompt):
        raise TaskError(f"prompt is {shown(prompt.text)}, which comes from no row of the task")
    return prompt


def is_chat(prompts: Sequence[Prompt]) -> bool:
    """True where prompts are chats, all of them."""
    return row_of(prompts[0]).chat is not None


def write_all(name: str, parts: Sequence[Sequence[Prompt]], write: Write) -> list[list[Prompt]]:
    """Write the chats of a task's parts as text.

    Args:
        name: of the task, for the error.
        parts: disjoint sets of chats.
        write: the chat template.

    Raises:
        TaskError: two prompts become one text, so that one for training might be held out too.

    Example:
        >>> chats = [[RowPrompt.of([{"role": "user", "content": text}], {})] for text in ("2+3=", "4+4=")]
        >>> written = write_all("sums", chats, lambda messages: messages[-1]["content"])
        >>> [[prompt.text for prompt in part] for part in written]
        [['2+3='], ['4+4=']]
    """
    written: list[list[Prompt]] = [
        [replace(prompt, text=write(row_of(prompt).chat or ())) for prompt in part] for part in parts
    ]
    texts = [prompt.text for part in written for prompt in part]
    if len(set(texts)) < len(texts):
        raise TaskError(f"{name} has different chats that the chat template writes alike; remove all but one")
    return written
