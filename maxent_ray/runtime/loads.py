"""State loads: every rank does its part of one, in any order, and reports of before are void."""

from __future__ import annotations

from maxent_ray.core.controller_state import ControllerState
from maxent_ray.runtime.protocol import StateLoad


class Loads:
    """The last load: which ranks have done their part of it, and the state it began with.

    Args:
        state: What the run begins with.
        generation: How often a state was loaded so far.

    Example:
        >>> state = ControllerState(tau=0.3, beta=0.1)
        >>> loads = Loads(state)
        >>> first, second = (StateLoad(rank, state.to_dict(), generation=0) for rank in range(2))
        >>> loads.joins(first, state)
        False
        >>> loads.begin(first, state)
        >>> loads.generation, loads.joins(second, state)
        (1, True)
    """

    def __init__(self, state: ControllerState, generation: int = 0) -> None:
        self.generation = generation
        self._began_with = state
        self._tokens: dict[int, str] = {}  # rank → token, of the ranks that have done their part

    def is_repeated(self, load: StateLoad) -> bool:
        """Whether a rank sends its part again, because the answer was lost."""
        return bool(load.token) and self._tokens.get(load.rank) == load.token

    def joins(self, load: StateLoad, state: ControllerState) -> bool:
        """Whether this is a rank's part of the last load, or else a new one.

        A rank that has heard of the last load asks for another: also one of which this service, restarted meanwhile,
        does not know that it had done its part.

        Args:
            load: Of a world of the same size.
            state: What it asks for, inside the run's bounds.
        """
        is_new_here = bool(self._tokens) and load.rank not in self._tokens
        return is_new_here and load.generation < self.generation and state == self._began_with

    def join(self, load: StateLoad) -> None:
        """A rank has done its part."""
        self._tokens[load.rank] = load.token

    def begin(self, load: StateLoad, state: ControllerState) -> None:
        """A rank is the first to ask for a new load."""
        self.generation = max(load.generation, self.generation) + 1
        self._began_with = state
        self._tokens = {load.rank: load.token}

    def take_over(self, generation: int, rank: int, state: ControllerState) -> None:
        """This service has restarted; a rank reports of a load that it did not see, with the newest state it knows."""
        self.generation = generation
        self._began_with = state
        self._tokens = {rank: ""}
