"""Graph colouring: complete a partial proper 3-colouring of a small graph."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations, pairwise, product
from typing import TypeAlias

from maxent_ray.errors import TaskError
from maxent_ray.tasks.base import Grade, Prompt
from maxent_ray.tasks.split import Reserved, split_prompts

COLOURS = "123"
EMPTY = "."
END_MARK = "$"
NODES = (5, 6)
MORE_EDGES = 2
COLOURED = 2
MODES_PER_PROMPT = range(2, 9)
RESERVED = Reserved(held_out=512, warm_start=1000)
_PROMPT = re.compile(r"([1-9]{2}(?:,[1-9]{2})*)=([1-3.]{2,9}):")

Edges: TypeAlias = tuple[tuple[int, int], ...]


class GraphColoring:
    """A graph of five or six nodes, two of them coloured, with two to eight ways to colour the others.

    A prompt reads `12,13,23,34,45,46,56=1...2.:`: an edge joins nodes 1 and 2, and so on; node 1 has colour 1, node
    5 colour 2, the others none yet. A completion is the colour of every node, up to the first `$`. It is right when
    it keeps the given colours and no edge joins two nodes of one colour; it is then its own mode.

    Every graph is a path through all nodes with two more edges. There are 5,517 prompts of 1,104 problems, since
    prompts that differ in the names of the colours alone state the same one: 512 to hold out, 1,000 for the shipped
    policy's supervised warm start, and 3,999 for training. No two parts have a problem in common.

    Args:
        held_out_count: number of prompts for evaluation.
        seed: of the split. With the same seed, a larger `held_out_count` adds to what a smaller one has, and the
            prompts for training are the same.

    Raises:
        TaskError: `held_out_count` leaves nothing to evaluate, or is more than the task can hold out.

    Example:
        >>> task = GraphColoring(held_out_count=128)
        >>> len(task.held_out), len(task.warm_start), len(task.train)
        (128, 1000, 3999)
        >>> task.grade(Prompt("12,13,23,34,45,46,56=1...2.:"), "123123$")
        Grade(reward=1.0, mode='123123')
        >>> task.grade(Prompt("12,13,23,34,45,46,56=1...2.:"), "123321$")
        Grade(reward=0.0, mode=None)
    """

    name = "graph_coloring"
    tells_modes = True

    def __init__(self, held_out_count: int = 256, seed: int = 0) -> None:
        """Split all prompts into held-out ones, those of the warm start, and those for training."""
        salt = f"{self.name}:{seed}"
        split = split_prompts(
            self.name, all_prompts(), RESERVED, held_out_count=held_out_count, salt=salt, problem=without_names
        )
        self.held_out: Sequence[Prompt] = split.held_out
        self.warm_start: Sequence[Prompt] = split.warm_start
        self.train: Sequence[Prompt] = split.train

    def grade(self, prompt: Prompt, completion: str) -> Grade:
        """1 for a right colouring before the first `$` (or before the end of the text), else 0.

        Raises:
            TaskError: `prompt` is not a prompt of this task. No completion raises.
        """
        edges, given = _read_prompt(prompt.text)
        answer = completion.split(END_MARK, 1)[0].strip()
        complete = len(answer) == len(given) and set(answer) <= set(COLOURS)
        if complete and _keeps(answer, given) and _is_proper(answer, edges):
            return Grade(1.0, answer)
        return Grade(0.0)


@cache
def all_prompts() -> tuple[Prompt, ...]:
    """Every prompt with two to eight modes (built once per process).

    Example:
        >>> len(all_prompts())
        5517
    """
    return tuple(prompt for nodes in NODES for edges in _graphs(nodes) for prompt in _prompts_of(nodes, edges))


def without_names(prompt: Prompt) -> str:
    """The prompt's text with its colours renamed in the order in which they come: the problem that it states.

    Example:
        >>> without_names(Prompt("12,13,23,34,45,46,56=2...1.:"))
        '12,13,23,34,45,46,56=1...2.:'
    """
    edges, given = prompt.text.split("=")
    colours = dict.fromkeys(colour for colour in given if colour in COLOURS)
    names = str.maketrans(dict(zip(colours, COLOURS, strict=False)))
    return f"{edges}={given.translate(names)}"


def _graphs(nodes: int) -> Iterator[Edges]:
    """Graphs that are the path 0 – 1 – … with more edges; nodes count from 0, and edges are in rising order."""
    path = tuple(pairwise(range(nodes)))
    others = [edge for edge in combinations(range(nodes), 2) if edge not in path]
    for more in combinations(others, MORE_EDGES):
        yield tuple(sorted((*path, *more)))


def _prompts_of(nodes: int, edges: Edges) -> Iterator[Prompt]:
    colourings = ["".join(each) for each in product(COLOURS, repeat=nodes) if _is_proper(each, edges)]
    question = ",".join(f"{a + 1}{b + 1}" for a, b in edges)
    for coloured in combinations(range(nodes), COLOURED):
        modes: defaultdict[str, set[str]] = defaultdict(set)
        for colouring in colourings:
            modes["".join(c if node in coloured else EMPTY for node, c in enumerate(colouring))].add(colouring)
        for given, found in modes.items():
            if len(found) in MODES_PER_PROMPT:
                yield Prompt(f"{question}={given}:", frozenset(found))


def _is_proper(colouring: Sequence[str], edges: Edges) -> bool:
    return all(colouring[a] != colouring[b] for a, b in edges)


def _keeps(colouring: str, given: str) -> bool:
    return all(mark in (EMPTY, colour) for mark, colour in zip(given, colouring, strict=True))


def _read_prompt(text: str) -> tuple[Edges, str]:
    match = _PROMPT.fullmatch(text)
    edges = tuple((int(edge[0]) - 1, int(edge[1]) - 1) for edge in match[1].split(",")) if match else ()
    if match is None or max(map(max, edges)) >= len(match[2]):
        raise TaskError(f"prompt is {text!r}; a graph_coloring prompt reads like '12,13,23,34,45,46,56=1...2.:'")
    return edges, match[2]
