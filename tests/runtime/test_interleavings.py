"""Hundreds of orders in which reports, answers, outages and deaths of the controller can fall: what always holds."""

from __future__ import annotations

import logging

import pytest

from tests.runtime.interleavings import STEPS, Weather, World

WEATHERS = {
    "deaths": (Weather(toggle_line=0.0), STEPS),
    "deaths, and a checkpoint every other step": (Weather(toggle_line=0.0), 2),
    "lines cut and mended": (Weather(restart=0.0), 4),
    "both": (Weather(), 4),
}
SEEDS = 100


@pytest.mark.parametrize("name", WEATHERS)
def test_whatever_the_order_nobody_waits_forever_and_nothing_is_taken_back(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "maxent_ray")
    for seed in range(SEEDS):
        world = World(seed, *WEATHERS[name])
        world.run()
        where = f"{name}, seed {seed}: {world.size} ranks, lag {world.lag}, {world.policy.kind}"
        assert not world.unfinished, f"{where}: {[rank.step for rank in world.ranks]}"
        for rank in world.ranks:  # a quorum may leave a rank so far behind that nobody remembers
            assert not rank.refusal or (world.policy.kind == "quorum" and "nobody remembers" in rank.refusal), where
        for (service, step), told in world.told.items():
            assert len(told) == 1, f"{where}: service {service} told two things of round {step}"
        for decided in world.decided:
            assert decided == sorted(decided), f"{where}: decided rounds were taken back"
        last = {(known.tau, known.beta) for known in (rank.seen[-1] for rank in world.ranks if not rank.refusal)}
        assert len(last) == 1, f"{where}: the ranks end apart"
