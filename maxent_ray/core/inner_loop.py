"""Inner loop of a KL coefficient: between the minibatch steps of one update, keep KL on its usual course.

A controller decides β once an update. A KL to the behaviour policy begins each update at 0 and grows over its minibatch
steps, along a course that is much the same in all updates, to a height that differs by tens of percent from one update
to the next. No decision made once an update can take that back. But the height shows early: the KL seen so far, over
the share of it that has usually been seen by then, predicts the mean of the whole update, and β can follow that
prediction while it still matters. Decisions of the controller are the outer loop of this cascade.

Source: Franks and Worley 1956, "Quantitative analysis of cascade control".
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

GAIN = 2.0
"""Change of ln β per unit of ln of the predicted KL over its target."""
HALF_TRUST = 0.1
"""Share of the course that must be seen for a prediction to count half."""
LARGEST_FACTOR = 10.0
"""Largest factor, either way, on the decided β."""
COURSE_DECAY = 0.9
"""Weight of the earlier updates in the usual course."""


def beta_factor(course: Float[Tensor, "n"], seen: Float[Tensor, "k"], target_kl: float) -> Float[Tensor, ""]:
    """Factor on the decided β for the next minibatch step, on the device of its arguments.

    Args:
        course: Usual KL at each minibatch of an update, relative to the update's mean.
        seen: KL at the minibatches of the running update so far (nats), k < n.
        target_kl: KL* (nats), of the update's mean.

    Returns:
        Above 1 where the update's KL will be above its target.

    Example:
        >>> course = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0])
        >>> beta_factor(course, 0.01 * course[:3], target_kl=0.01)
        tensor(1.)
        >>> bool(beta_factor(course, 0.02 * course[:3], target_kl=0.01) > 1.5)
        True
    """
    share = course[: len(seen)].sum() / course.sum()
    predicted = seen.sum() / len(course) / share.clamp(min=1e-6)
    trust = share / (share + HALF_TRUST)
    ratio = (predicted / target_kl).clamp(1e-6, 1e6)  # the first minibatch has no KL yet, and no trust
    limit = math.log(LARGEST_FACTOR)
    power = (GAIN * trust * ratio.log()).clamp(-limit, limit)
    return power.nan_to_num(0.0).exp()  # a KL that is no number moves nothing


def next_course(course: Float[Tensor, "m"] | None, seen: Float[Tensor, "n"]) -> Float[Tensor, "_"] | None:
    """The usual course with one more update; None where the update had no KL at all.

    An update with another number of minibatches begins the course anew.

    Example:
        >>> next_course(None, torch.tensor([0.0, 0.01, 0.02]))
        tensor([0., 1., 2.])
    """
    mean = seen.mean()
    if not bool(torch.isfinite(mean) & (mean > 0)):
        return course
    relative = seen / mean
    if course is None or len(course) != len(seen):
        return relative
    return COURSE_DECAY * course + (1 - COURSE_DECAY) * relative
