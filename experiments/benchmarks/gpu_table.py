"""The table of ``gpu.sh``: how its parts ended, and what they measured, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


def table(machine: Mapping[str, Any], parts: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> str:
    """Markdown of a run.

    Args:
        machine: Device and versions.
        parts: Name, result, seconds and last line of each part.
        found: ``summary.json`` of the parts that wrote one, by name.
    """
    ends = rows(("part", "result", "seconds", "last line"), ([*map(_plain, part.values())] for part in parts))
    sections = [section(found[name]) for name, section in SECTIONS.items() if name in found]
    about = ", ".join(f"{name} {value}" for name, value in machine.items())
    return "\n\n".join([f"# GPU paths\n\n{about}", ends, *sections]) + "\n"


def rows(head: Sequence[str], cells: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    Example:
        >>> print(rows(("a", "b"), [("1", "2")]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(line)} |" for line in cells)])


def hypergradients(summary: Mapping[str, Any]) -> str:
    """Time, memory and accuracy of the modes."""
    memory = {(line["method"], line["steps"]): line["unroll"] for line in summary["memory_bytes"]}
    head = ("mode", "K", "time over plain steps", "memory (MiB)")
    cells = [
        (line["method"], str(line["steps"]), f"{line['ratio']:.2f}", _mebibytes(memory.get(_key(line))))
        for line in summary["time"]
    ]
    bars = [
        (bar["name"], f"{bar['measured']:.3g}", f"{bar['limit']:g}", "yes" if bar["holds"] else "NO")
        for bar in summary["bars"]
    ]
    made = [rows(head, cells), rows(("bar", "measured", "limit", "holds"), bars)]
    return "\n\n".join(["## Hypergradients", *made])


def step_memory(summary: Mapping[str, Any]) -> str:
    """Memory of a policy step by batch, chunk and micro-batch."""
    head = ("sequences", "new tokens", "chunk", "micro-batch", "one tensor of logits (GB)", "peak (GB)", "seconds")
    cells = [
        (
            str(case["sequences"]),
            str(case["new_tokens"]),
            str(case["chunk_tokens"]),
            str(case["micro_batch_tokens"] or "whole"),
            f"{case['logits_bytes'] / 1e9:.2f}",
            f"{case['peak_bytes'] / 1e9:.2f}",
            f"{case['seconds']:g}",
        )
        for case in summary["cases"]
    ]
    return f"## Memory of a step\n\n{rows(head, cells)}"


def llm(summary: Mapping[str, Any]) -> str:
    """Speed, memory and control of the LLM with LoRA."""
    speed = [
        ("parameters, of which trained", f"{summary['parameters']:,}, {summary['trained']:,}"),
        ("steps measured", str(summary["steps"])),
        ("steps a minute", f"{summary['steps_a_minute']:.1f}"),
        ("tokens a second, sampled", f"{summary['sampled_tokens_a_second']:.0f}"),
        ("tokens a second, of the whole step", f"{summary['tokens_a_second']:.0f}"),
        ("peak memory (GB)", f"{summary['peak_bytes'] / 1e9:.2f}"),
        ("reward, share of tied groups", f"{summary['reward']:.3f}, {summary['tied_share']:.2f}"),
    ]
    control = [
        ("H by τ", *(_number(summary[name]) for name in ("entropy", "target_entropy", "first_tau", "tau"))),
        ("KL by β", *(_number(summary[name]) for name in ("kl", "target_kl", "first_beta", "beta"))),
    ]
    made = [rows(("", ""), speed), rows(("", "measured", "target", "coefficient, first", "last"), control)]
    return "\n\n".join(["## LLM with LoRA\n\nMeans over the second half of the steps.", *made])


SECTIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "hypergradient": hypergradients,
    "step_memory": step_memory,
    "llm_lora": llm,
}


def _key(line: Mapping[str, Any]) -> tuple[str, int]:
    return line["method"], line["steps"]


def _mebibytes(size: float | None) -> str:
    return "" if size is None else f"{size / 2**20:.1f}"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _plain(value: object) -> str:
    """A cell's text, short and without what would end the cell."""
    return str(value).replace("|", "/")[:120]
