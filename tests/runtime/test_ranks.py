"""Ranks in processes of their own: beside default groups of every kind, and when one dies, hangs or is another's."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch.distributed as dist

from maxent_ray.core.state import Coefficients
from maxent_ray.errors import ConfigError, ControllerUnavailableError, RankLostError
from maxent_ray.runtime.actor import create_controller
from maxent_ray.runtime.connect import LONGEST_RUN_ID, NAMESPACE, connect
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.rendezvous import rendezvous_over_actor
from tests.runtime.support import ANALYTIC, Host, expected, measured, new_host, on_hosts, train

pytestmark = pytest.mark.ray

PATIENT: dict[str, Any] = {"timeout_s": 30.0}
LIMIT_S = 8.0
SHORT: dict[str, Any] = {"timeout_s": 2.0, "round_timeout_s": LIMIT_S}


def join(host: Host, rank: int, size: int, run_id: str, options: dict[str, Any], **others: Any) -> str:
    host.client = connect(run_id, rank, size, ANALYTIC, options=ClientOptions(**options), **others)
    return host.client.run_id


def take_steps(host: Host, rank: int, size: int, start: int, stop: int) -> list[Coefficients]:
    return train(host.client, range(start, stop))


@pytest.fixture(scope="module")
def hosts(ray_cluster: None) -> Iterator[list[Any]]:
    """Four processes; who gives one up puts another in its place."""
    made = [new_host() for _ in range(4)]
    ray.get([host.pid.remote() for host in made])
    yield made
    for host in made:
        ray.kill(host)


# --- default groups ---


def register_gpu_only() -> None:
    """A backend that moves GPU tensors and no others, as nccl does."""
    if not hasattr(dist.Backend, "GPU_ONLY"):
        make = lambda store, rank, size, timeout: dist.ProcessGroupGloo(store, rank, size, timeout)  # noqa: E731
        dist.Backend.register_backend("gpu_only", make, devices=["cuda"])


def in_default_group(host: Host, rank: int, size: int, backend: str, folder: str, run_id: str, local: bool) -> Any:
    """Train in a default group, destroy it, train on without, then in another one."""
    register_gpu_only()
    file = Path(folder, uuid.uuid5(uuid.NAMESPACE_URL, run_id).hex)
    dist.init_process_group(backend, init_method=f"file://{file}-1", rank=rank, world_size=size)
    client = connect(run_id, rank, size, ANALYTIC, options=ClientOptions(**PATIENT), local=local)
    seen = train(client, range(4))
    dist.destroy_process_group()
    seen += train(client, range(4, 8))
    dist.init_process_group("gloo", init_method=f"file://{file}-2", rank=size - 1 - rank, world_size=size)
    seen += train(client, range(8, 12))
    dist.destroy_process_group()
    client.close()
    return seen


@pytest.mark.parametrize(("backend", "local"), [("gloo", True), ("gloo", False), ("gpu_only", False)])
def test_a_default_group_of_any_kind_may_come_and_go(
    hosts: list[Any], run_id: str, tmp_path: Path, backend: str, local: bool
) -> None:
    found = on_hosts(hosts[:2], in_default_group, backend, str(tmp_path), run_id, local)
    assert found == [expected(2, 12, 1)] * 2


def handed_in(host: Host, rank: int, size: int, folder: str, run_id: str) -> Any:
    """Two runs of one name, each in a group of its own half of the default one."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    try:
        groups = [dist.new_group(ranks) for ranks in ([0, 1], [2, 3])]
        connect_as = (run_id, rank % 2, 2, replace(ANALYTIC, target_kl=(0.05, 0.3)[rank // 2]))
        client = connect(*connect_as, options=ClientOptions(**PATIENT), group=groups[rank // 2])
        seen = train(client, range(6))
        client.close()
        wrong = "world_size is 4, but the process group has 2 ranks" if rank < 2 else "is rank . of 2 in its proc"
        with pytest.raises(ConfigError, match=wrong):
            connect(run_id, rank, 4, ANALYTIC, group=groups[rank // 2])
        return seen
    finally:
        dist.destroy_process_group()


def test_a_group_that_is_handed_in_keeps_runs_of_one_name_apart(hosts: list[Any], run_id: str, tmp_path: Path) -> None:
    found = on_hosts(hosts, handed_in, str(tmp_path), run_id)
    assert found == [expected(2, 6, 1)] * 2 + [expected(2, 6, 1, replace(ANALYTIC, target_kl=0.3))] * 2


@pytest.mark.parametrize("lag", [0, 1])
def test_without_any_group_ranks_meet_over_the_actor(hosts: list[Any], run_id: str, lag: int) -> None:
    on_hosts(hosts, join, run_id, {**PATIENT, "lag": lag})
    assert on_hosts(hosts, take_steps, 0, 10) == [expected(4, 10, lag)] * 4


# --- ranks that differ ---


def join_with(host: Host, rank: int, size: int, run_id: str, odd: int, changes: dict[str, Any]) -> Any:
    """One rank asks for something else."""
    own = changes if rank == odd else {}
    options = ClientOptions(**{**SHORT, **own.get("options", {})})
    connect(run_id, rank, own.get("world_size", size), replace(ANALYTIC, **own.get("config", {})), options=options)


@pytest.mark.parametrize("odd", [0, 1])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"target_kl": 0.1, "tau": 0.5}}, "tau is {} on rank 0 and {} on rank 1; target_kl is"),
        ({"options": {"lag": 0}}, "lag is {} on rank 0 and {} on rank 1"),
        ({"world_size": 3}, "world_size is {} on rank 0 and {} on rank 1"),
    ],
)
def test_ranks_that_were_asked_for_different_things_all_hear_how(
    hosts: list[Any], run_id: str, odd: int, changes: dict[str, Any], message: str
) -> None:
    values = {"tau": (0.3, 0.5), "lag": (1, 0), "world": (2, 3)}[message.split("_")[0].split(" ")[0]]
    began = time.monotonic()
    errors = on_hosts(hosts[:2], join_with, run_id, odd, changes)
    assert time.monotonic() - began < LIMIT_S + 10
    assert [type(error) for error in errors] == [ConfigError] * 2
    for error in errors:
        assert message.format(*(values if odd == 1 else values[::-1])) in str(error)


@pytest.mark.slow
def test_a_rank_that_never_comes_is_named(hosts: list[Any], run_id: str) -> None:
    def only_some(host: Host, rank: int, size: int) -> Any:
        return None if rank == 2 else join(host, rank, size, run_id, SHORT)

    errors = on_hosts(hosts, only_some)
    assert {str(error) for error in errors if error} == {f"run {run_id!r}: rank 2 of 4 did not connect within 8 s"}
    assert [type(error) for error in errors] == [RankLostError, RankLostError, type(None), RankLostError]


@pytest.mark.slow
def test_rank_0_that_never_comes_is_named(hosts: list[Any], run_id: str) -> None:
    def not_0(host: Host, rank: int, size: int) -> Any:
        return join(host, rank + 1, size + 1, run_id, SHORT)

    (error,) = on_hosts(hosts[:1], not_0)
    assert isinstance(error, ControllerUnavailableError)
    assert str(error) == f"run {run_id!r}, rank 1: rank 0 did not connect within 8 s"


def load_another(host: Host, rank: int, size: int) -> Any:
    """One rank of lag 0 loads an earlier state in the middle of a step: it asks for nothing while others wait."""
    saved = host.client.state_dict()
    take_steps(host, rank, size, 0, 3)
    if rank == 1:
        host.client.load_state_dict(saved)
    return take_steps(host, rank, size, 3 if rank == 0 else 0, 5)


def test_ranks_that_have_parted_hear_where_each_is_and_do_not_hang(hosts: list[Any], run_id: str) -> None:
    on_hosts(hosts[:2], join, run_id, {**SHORT, "lag": 0})
    errors = on_hosts(hosts[:2], load_another)
    assert {type(error) for error in errors} == {RankLostError}
    said = "ranks wait in different calls: rank 0 waits for the decision on step 2, rank 1 reports step 0"
    assert all(said in str(error) for error in errors)


# --- deaths ---


@pytest.mark.parametrize("victim", [0, 2])
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.slow
def test_a_rank_that_dies_or_hangs_is_named_and_the_others_go_on_from_one_state(
    hosts: list[Any], run_id: str, victim: int, blow: signal.Signals
) -> None:
    """With another world size, and with the same: as the bare loop."""
    on_hosts(hosts, join, run_id, SHORT)
    assert on_hosts(hosts, take_steps, 0, 3) == [expected(4, 3, 1)] * 4
    os.kill(ray.get(hosts[victim].pid.remote()), blow)
    left = [rank for rank in range(4) if rank != victim]
    began = time.monotonic()
    errors = ray.get([hosts[rank].do.remote(take_steps, rank, 4, 3, 9) for rank in left], timeout=60)
    assert time.monotonic() - began < LIMIT_S + 2
    again = ray.get([hosts[rank].do.remote(take_steps, rank, 4, 3, 9) for rank in left], timeout=60)
    ray.kill(hosts[victim])
    hosts[victim] = new_host()
    name = f"rank {victim} of 4 died or hangs" if victim else "rank 0 died or hangs"
    assert [type(error) for error in (*errors, *again)] == [RankLostError] * 6
    assert all(name in str(error) for error in (*errors, *again)), errors
    saved = ray.get(hosts[left[0]].state_dict.remote())
    on_hosts(hosts, join, f"{run_id}-again", PATIENT)
    on_hosts(hosts, load, saved)
    start = saved["state"]["step"] + 1 + (saved["pending"] is not None)
    assert on_hosts(hosts, take_steps, start, start + 5) == [expected(4, start + 5, 1)[start:]] * 4
    on_hosts(hosts[:2], join, f"{run_id}-smaller", PATIENT)
    on_hosts(hosts[:2], load, saved)
    assert len({tuple(seen) for seen in on_hosts(hosts[:2], take_steps, start, start + 5)}) == 1


def load(host: Host, rank: int, size: int, saved: dict[str, Any]) -> None:
    host.client.load_state_dict(saved)


def late(host: Host, rank: int, size: int, seconds: float) -> Any:
    time.sleep(seconds)
    return train(host.client, range(3, 5))


@pytest.mark.slow
@pytest.mark.parametrize("late_rank", [0, 1])
def test_a_rank_that_is_only_late_is_not_named(hosts: list[Any], run_id: str, late_rank: int) -> None:
    """Rank 2 dies while another one is in a long step, from which it comes after the first one has given up."""
    three = hosts[:3]
    on_hosts(three, join, run_id, {**SHORT, "round_timeout_s": 30.0})
    on_hosts(three, take_steps, 0, 3)
    os.kill(ray.get(hosts[2].pid.remote()), signal.SIGKILL)
    waits = [6.0 if rank == late_rank else 0.0 for rank in range(2)]
    errors = ray.get([hosts[rank].do.remote(late, rank, 3, waits[rank]) for rank in range(2)], timeout=60)
    hosts[2] = new_host()
    assert [type(error) for error in errors] == [RankLostError] * 2
    assert all("rank 2 of 3 died or hangs" in str(error) for error in errors), errors


@pytest.mark.slow
def test_two_runs_of_one_name_that_cannot_be_distinguished_are_an_error(hosts: list[Any], run_id: str) -> None:
    """One job, no placement group, no process group: the first goes on, the second is told what to do."""
    on_hosts(hosts[:2], join, run_id, SHORT)
    first, second = on_hosts(hosts[2:], join, run_id, SHORT)
    assert isinstance(first, ConfigError)
    assert "choose another run_id, or pass the ranks' process group" in str(first)
    assert isinstance(second, ControllerUnavailableError)
    assert on_hosts(hosts[:2], take_steps, 0, 4) == [expected(2, 4, 1)] * 2


def test_a_run_may_be_named_as_another_s_second(hosts: list[Any], run_id: str) -> None:
    """``my-run-2`` is a name like any other, though the second live run of ``my-run`` would be called so."""
    assert on_hosts(hosts[:2], join, f"{run_id}-2", PATIENT) == [f"{run_id}-2"] * 2
    assert on_hosts(hosts[2:], join, run_id, PATIENT) == [run_id] * 2
    for pair in (hosts[:2], hosts[2:]):
        assert on_hosts(pair, take_steps, 0, 4) == [expected(2, 4, 1)] * 2


@pytest.mark.parametrize("name", ["a b/c", "ü: #%?\n'\"", "-2"], ids=["path", "signs", "number"])
def test_ranks_of_a_run_of_any_name_meet(hosts: list[Any], run_id: str, name: str) -> None:
    for odd in (f"{run_id}{name}", f"{run_id}{name}".ljust(LONGEST_RUN_ID, "x")):
        assert on_hosts(hosts[:2], join, odd, PATIENT) == [odd] * 2
        assert on_hosts(hosts[:2], take_steps, 0, 3) == [expected(2, 3, 1)] * 2


def test_of_two_runs_that_start_at_once_one_hears_of_the_other(ray_cluster: None, run_id: str) -> None:
    """The other one has reserved its name, and has not published its address yet."""
    actors = [create_controller(run_id, NAMESPACE, wait=False)[0] for _ in range(2)]
    context = ray.get_runtime_context()
    ray.get(actors[1].reserve.remote(f"{run_id}@{context.get_job_id()}/{context.get_placement_group_id() or ''}"))
    with pytest.raises(ConfigError, match="choose another run_id"):
        rendezvous_over_actor(lambda: actors, run_id, 0, 2, LIMIT_S)


def test_an_actor_that_is_about_to_end_is_no_other_run(ray_cluster: None, run_id: str) -> None:
    """As that of a driver that was killed a moment ago, and is started again."""
    actors = [create_controller(run_id, NAMESPACE)[0] for _ in range(2)]
    ray.kill(actors[1])
    rendezvous_over_actor(lambda: actors, run_id, 0, 2, LIMIT_S).close()


def close_and_report(host: Host, rank: int, size: int) -> Any:
    host.client.close()
    host.client.close()
    return host.client.report(0, measured(rank, 0))


def test_a_closed_client_says_so(hosts: list[Any], run_id: str) -> None:
    on_hosts(hosts[:2], join, run_id, PATIENT)
    errors = on_hosts(hosts[:2], close_and_report)
    assert [str(error) for error in errors] == ["the connection to the other ranks was closed"] * 2
