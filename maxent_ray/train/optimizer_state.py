"""Moments of an optimiser as whole tensors, by the place of their parameter among those that are trained."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor

from maxent_ray.policy.whole_state import divided_like, gathered

Moments = dict[int, dict[str, Tensor]]


def whole_moments(optimizer: torch.optim.Optimizer) -> Moments:
    """Read the moments; where they are divided among ranks, all of them call this, and rank 0 gets them.

    Example:
        >>> optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))])
        >>> whole_moments(optimizer)
        {}
    """
    return {place: gathered(moments) for place, moments in optimizer.state_dict()["state"].items()}


def load_moments(optimizer: torch.optim.Optimizer, state: Mapping[int, Mapping[str, Tensor]]) -> None:
    """Load :func:`whole_moments`, divided as the optimiser's parameters are. Settings stay what they are.

    Example:
        >>> optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))])
        >>> moments = {"step": torch.tensor(3.0), "exp_avg": torch.ones(1), "exp_avg_sq": torch.ones(1)}
        >>> load_moments(optimizer, {0: moments})
        >>> whole_moments(optimizer)[0]["step"]
        tensor(3.)
    """
    parameters = list(chain.from_iterable(group["params"] for group in optimizer.param_groups))
    parts = {
        place: {name: divided_like(value, parameters[place]) for name, value in moments.items()}
        for place, moments in state.items()
    }
    optimizer.load_state_dict({"state": parts, "param_groups": optimizer.state_dict()["param_groups"]})
