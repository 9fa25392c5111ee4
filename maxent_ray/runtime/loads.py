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
        >>> first, second = (StateLoad(rank, state.to_dict()) for rank in range(2))
        >>> loads.joins(first, state, state)
        False
        >>> loads.begin(first, state)
        >>> loads.generation, loads.joins(second, state, state)
        (1, True)
    """

    def __init__(self, state: ControllerState, generation: int = 0) -> None:
        self.generation = generation
        self._began_with = state
        self._tokens: dict[int, str] = {}  # rank → token, of the ranks that have done their part
        self._was_taken_over = False

    def is_repeated(self, load: StateLoad) -> bool:
        """Whether a rank sends its part again, because the answer was lost."""
        return bool(load.token) and self._tokens.get(load.rank) == load.token

    def joins(self, load: StateLoad, state: ControllerState, current: ControllerState) -> bool:
        """Whether this is a rank's part of the last load, or else a new one.

        A restarted service does not know who had done it before. There a rank joins that has not heard of the load,
        and only while nothing was decided since: to roll back then is to stay.

        Args:
            load: Of a world of the same size.
            state: What it asks for, inside the run's bounds.
            current: Where the service is.
        """
        if not self._tokens or load.rank in self._tokens or state != self._began_with:
            return False
        return not self._was_taken_over or (load.generation < self.generation and state == current)

    def join(self, load: StateLoad) -> None:
        """A rank has done its part."""
        self._tokens[load.rank] = load.token

    def begin(self, load: StateLoad, state: ControllerState) -> None:
        """A rank is the first to ask for a new load."""
        self.generation = max(load.generation, self.generation) + 1
        self._began_with = state
        self._tokens = {load.rank: load.token}
        self._was_taken_over = False

    def take_over(self, generation: int, rank: int, state: ControllerState) -> None:
        """This service has restarted; a rank reports of a load that it did not see, with the newest state it knows."""
        self.generation = generation
        self._began_with = state
        self._tokens = {rank: ""}
        self._was_taken_over = True
