"""Reports that are wrong in every way that could be thought of: refused by name, and nothing else happens.

A run of the real service in which bad reports arrive between good ones decides exactly what a bare loop over the good
ones decides. 12 000 bad reports; then some of each kind through the actor, and poisoned ranks through the client.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import ray
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from maxent_ray.core.controller import Controller
from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.core.statistics import merge_all
from maxent_ray.errors import ControllerUnavailableError, InvalidReportError
from maxent_ray.runtime.actor import get_or_create
from maxent_ray.runtime.connecting import NAMESPACE, connect
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.protocol import Report, StateLoad
from maxent_ray.runtime.service import ControllerService
from tests.runtime.bad_reports import (
    GENERATION,
    PLACES,
    RANKS,
    RECIPES,
    SCALARS,
    STEPS,
    UNSENDABLE,
    WEIRD,
    Recipe,
    Weird,
    every_weird_value,
    no_count,
    weird,
    with_field,
)
from tests.runtime.support import ANALYTIC, TRUNCATED, hand_loop, measured, unrolled

LONGEST_MESSAGE = 600
EXAMPLES, EACH = 600, 10


def good_reports(config: ControllerConfig) -> list[Report]:
    """A run: every rank's report of every step, ranks in another order each time."""
    reports = []
    for step in range(STEPS):
        for rank in ((index * 3 + step) % RANKS for index in range(RANKS)):
            gradients = unrolled(rank, step) if config is TRUNCATED else None
            reports.append(Report("run", rank, step, measured(rank, step), gradients, generation=GENERATION))
    return reports


def started(config: ControllerConfig, reports: list[Report]) -> ControllerService:
    """A service that has had some reports."""
    service = ControllerService("run", config, RANKS, generation=GENERATION)
    for report in reports:
        service.report(report)
    return service


GOOD = {config: good_reports(config) for config in (ANALYTIC, TRUNCATED)}
EXPECTED = {config: started(config, GOOD[config]).state.to_dict() for config in GOOD}


def everything(service: ControllerService) -> tuple[Any, ...]:
    """All that a bad report must leave as it is, inner parts included."""
    counters = {name: count for name, count in service.counters().items() if name != "rejected"}
    open_rounds = {step: service._open.reports(step) for step in range(STEPS + 8)}
    closed = (dict(service._closed._answers), dict(service._closed._without))
    waiting = (set(service._open._absent), dict(service._open._gone_on))
    inner = (waiting, dict(service._loads._tokens), dict(service._unreachable), service.generation)
    return service.state, counters, open_rounds, closed, service.decisions(), service.world_size, inner


def refuse(send: Callable[[Any], Any], recipe: Recipe, good: Any) -> None:
    """See it refused: by name, with the value, and not at any length."""
    what = f"{recipe.place} = {recipe.value!r}"
    try:
        send(recipe.spoil(good))
    except InvalidReportError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{what} crashed the service: {error!r}") from error
    else:
        pytest.fail(f"{what} was accepted")
    assert recipe.field in message, (what, message)
    assert recipe.shows() in message, (what, message)
    assert len(message) <= LONGEST_MESSAGE, (what, len(message))


@pytest.mark.parametrize("config", [ANALYTIC, TRUNCATED], ids=["analytic", "truncated"])
def test_bad_reports_change_nothing(config: ControllerConfig) -> None:
    """Ten at a time, anywhere in the run; the good reports then lead where they lead without them."""
    refused: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(RECIPES, min_size=EACH, max_size=EACH), st.integers(0, RANKS * STEPS))
    def feed(recipes: list[Recipe], position: int) -> None:
        service = started(config, GOOD[config][:position])
        before = everything(service)
        good = GOOD[config][min(position, RANKS * STEPS - 1)]
        for recipe in recipes:
            refuse(service.report, recipe, good)
            refused[recipe.place] += 1
        assert everything(service) == before
        assert service.counters()["rejected"] == len(recipes)
        for report in GOOD[config][position:]:
            service.report(report)
        assert service.state.to_dict() == EXPECTED[config]

    feed()
    assert refused.total() >= EXAMPLES * EACH
    assert refused.keys() == PLACES.keys()


@pytest.mark.parametrize("place", PLACES)
def test_every_weird_value_in_every_place_changes_nothing(place: str) -> None:
    """Half way through a round: what hypothesis draws at random is not left to chance."""
    good = GOOD[ANALYTIC]
    service = started(ANALYTIC, good[:6])
    before = everything(service)
    for recipe in every_weird_value(place):
        refuse(service.report, recipe, good[6])
    assert everything(service) == before
    for report in good[6:]:
        service.report(report)
    assert service.state.to_dict() == EXPECTED[ANALYTIC]


def test_the_undisturbed_run_is_the_bare_loop() -> None:
    assert EXPECTED[ANALYTIC] == hand_loop(ANALYTIC, range(RANKS), STEPS)[-1].to_dict()


LOADS = {
    "rank": no_count(st.integers(RANKS, 2**53)),
    "state": weird("gone", drawn=SCALARS),
    "answered": weird("gone", "list", "tuple", drawn=SCALARS),
    "generation": no_count(),
    "world_size": weird("none", drawn=SCALARS.filter(lambda size: not isinstance(size, int) or size < 1)),
}


@pytest.mark.parametrize("name", LOADS)
def test_bad_loads_change_nothing(name: str) -> None:
    """A state that is loaded comes through the same door."""
    service = started(ANALYTIC, GOOD[ANALYTIC][:6])
    before = everything(service)
    good = StateLoad(0, service.state.to_dict(), generation=GENERATION, world_size=RANKS)

    @settings(max_examples=100, deadline=None, derandomize=True, phases=(Phase.generate,))
    @given(LOADS[name].all)
    def feed(value: Any) -> None:
        bad = WEIRD[value.name] if isinstance(value, Weird) else value
        with pytest.raises(InvalidReportError, match=name):
            service.load_state(with_field(good, name, bad))

    feed()
    assert everything(service) == before


AT_THE_CLIENT = [place for place in PLACES if place.startswith(("statistics", "gradients"))]


@pytest.mark.parametrize("place", AT_THE_CLIENT)
def test_a_client_sends_nothing_bad_and_goes_on(place: str) -> None:
    """What its caller measured is refused there by name; the round passes over, and the next one is as ever."""
    passed_over = replace(Controller(ANALYTIC).init(), step=0, version=1)
    expected = Controller(ANALYTIC).step(passed_over, measured(0, 1))[0]
    for recipe in every_weird_value(place):
        if recipe == Recipe("statistics", Weird("gone")):
            continue  # an argument cannot be left out
        client = connect("run", 0, 1, ANALYTIC, options=ClientOptions(lag=0), local=True)
        bad = recipe.spoil(Report("run", 0, 0, measured(0, 0)))
        refuse(lambda report, to=client: to.report(0, report.statistics, report.gradients), recipe, bad)
        held = client.coefficients(1)
        assert (held.tau, held.beta, held.version) == (passed_over.tau, passed_over.beta, 1)
        assert client.last_decision is not None and client.last_decision["reason"] == "non_finite"
        client.report(1, measured(0, 1))
        assert client.coefficients(2) == expected.coefficients(2)


@pytest.mark.ray
def test_bad_reports_through_the_actor_change_nothing(ray_cluster: None, run_id: str) -> None:
    """All that can be sent: refused across processes, and the actor goes on to decide the same."""
    controller = get_or_create(run_id, ANALYTIC, RANKS, NAMESPACE)
    good = [replace(report, run_id=run_id, generation=0) for report in GOOD[ANALYTIC]]
    waiting = [controller.report.remote(report) for report in good[:6]]
    ray.get(waiting[:RANKS])
    before = ray.get([controller.state.remote(), controller.decisions.remote()])
    sendable = [
        recipe
        for place in PLACES
        if place not in ("run_id", "generation")
        for recipe in every_weird_value(place)[::5]
        if recipe.value.name not in UNSENDABLE
    ]

    def send(report: Any) -> None:
        try:
            ray.get(controller.report.remote(report))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None

    for recipe in sendable:
        refuse(send, recipe, good[6])
    with pytest.raises(ControllerUnavailableError, match="run 'another': the actor serves run"):
        send(replace(good[6], run_id="another"))
    with pytest.raises(ControllerUnavailableError) as refused:
        send(replace(good[6], run_id=WEIRD["ten megabytes of text"]))
    assert len(str(refused.value)) < LONGEST_MESSAGE
    assert len(sendable) > 300
    assert ray.get([controller.state.remote(), controller.decisions.remote()]) == before
    assert ray.get(controller.counters.remote())["rejected"] == len(sendable)
    ray.get([*waiting[RANKS:], *(controller.report.remote(report) for report in good[6:])])
    assert ray.get(controller.state.remote()) == EXPECTED[ANALYTIC]


@pytest.mark.ray
def test_a_poisoned_rank_of_four_moves_neither_coefficient_of_the_others(ray_cluster: None, run_id: str) -> None:
    """Clients on a real actor: one rank's loss is NaN in step 1; that round passes over, and all go on alike."""
    options = ClientOptions(lag=0)
    clients = [connect(run_id, rank, RANKS, ANALYTIC, options=options) for rank in range(RANKS)]
    controller, state = Controller(ANALYTIC), Controller(ANALYTIC).init()
    for step in range(4):
        seen = [client.coefficients(step) for client in clients]
        assert {(each.tau, each.beta) for each in seen} == {(state.tau, state.beta)}
        for rank, client in enumerate(clients):
            statistics = measured(rank, step)
            if (rank, step) == (2, 1):
                poisoned = replace(statistics, policy_kl_sum=math.nan)
                with pytest.raises(InvalidReportError, match=r"rank 2, step 1: statistics\.policy_kl_sum is nan"):
                    client.report(step, poisoned)
            else:
                client.report(step, statistics)
        if step == 1:
            state = replace(state, step=1, version=2)
        else:
            state = controller.step(state, merge_all(measured(rank, step) for rank in range(RANKS)))[0]
    final = [client.coefficients(4) for client in clients]
    assert {(each.tau, each.beta, each.version) for each in final} == {(state.tau, state.beta, 4)}
    for client in clients:
        client.close()
