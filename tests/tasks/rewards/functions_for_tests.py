"""Reward functions with TRL's signature, good and bad."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import torch


def length(completions: list[str], **columns: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def below_zero(completions: list[str], **columns: Any) -> list[float]:
    return [-2.0 for _ in completions]


def right(prompts: list[str], completions: list[str], answer: list[int], **columns: Any) -> list[bool]:
    return [text.strip() == str(value) for text, value in zip(completions, answer, strict=True)]


def named_alone(completions: list[str], answer: list[int]) -> list[float]:
    return [float(value) for value in answer]


def even_alone(completions: list[str], answer: list[int], **columns: Any) -> list[float | None]:
    return [1.0 if value % 4 == 0 else None for value in answer]


def content(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    assert all(prompt[0]["role"] in ("system", "user") for prompt in prompts)
    assert all(completion[0]["role"] == "assistant" for completion in completions)
    return [
        float(prompt[-1]["content"] in completion[0]["content"])
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def tensor(completions: list[str], **columns: Any) -> torch.Tensor:
    return torch.full((len(completions),), 0.5)


def no_number(completions: list[str], **columns: Any) -> list[Any]:
    return [1.0, *["good"] * (len(completions) - 1)]


def not_finite(completions: list[str], **columns: Any) -> list[float]:
    return [float("nan")] * len(completions)


def infinite(completions: list[str], **columns: Any) -> list[float]:
    return [float("inf")] * len(completions)


def none(completions: list[str], **columns: Any) -> list[None]:
    return [None] * len(completions)


def too_few(completions: list[str], **columns: Any) -> list[float]:
    return [1.0]


def no_list(completions: list[str], **columns: Any) -> float:
    return 1.0


def raises(completions: list[str], **columns: Any) -> list[float]:
    raise KeyError("level")


def leaves(completions: list[str], **columns: Any) -> list[float]:
    os._exit(3)


def sleeps(completions: list[str], **columns: Any) -> list[float]:
    time.sleep(3600)
    return []


def computes(completions: list[str], **columns: Any) -> list[float]:
    return [9**9**9**9]  # holds Python's lock


def needs_solution(completions: list[str], solution: list[str], **columns: Any) -> list[float]:
    return [0.0] * len(completions)


def needs_ids(completions: list[str], completion_ids: list[list[int]], **columns: Any) -> list[float]:
    return [0.0] * len(completions)


async def late(completions: list[str], **columns: Any) -> list[float]:
    await asyncio.sleep(3600)
    return []


async def times_out(completions: list[str], **columns: Any) -> list[float]:
    raise TimeoutError("no reply")


class Meeting:
    """Two asynchronous rewards that end only if they run together."""

    met: asyncio.Event | None = None


async def waits(completions: list[str], **columns: Any) -> list[float]:
    Meeting.met = Meeting.met or asyncio.Event()
    await Meeting.met.wait()
    Meeting.met = None
    return [1.0] * len(completions)


async def comes(completions: list[str], **columns: Any) -> list[float]:
    Meeting.met = Meeting.met or asyncio.Event()
    await asyncio.sleep(0)
    Meeting.met.set()
    return [10.0] * len(completions)
