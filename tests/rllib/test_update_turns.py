"""Updates and restores take turns, in whatever threads they run."""

from __future__ import annotations

from threading import Thread

from maxent_ray.rllib.update_turns import UpdateTurns


def in_a_thread(call: object) -> Thread:
    thread = Thread(target=call, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_a_restore_waits_for_another_threads_update_and_the_next_update_for_the_restore() -> None:
    turns, order = UpdateTurns(), []

    def restore() -> None:
        with turns.between_updates(), turns.between_updates():  # a checkpoint's parts are restored inside the whole
            order.append("restored")

    turns.begin_update()
    restoring = in_a_thread(restore)
    restoring.join(0.2)  # it would be done by now, if it did not wait
    order.append("updated")
    turns.end_update()
    restoring.join()
    assert order == ["updated", "restored"]

    with turns.between_updates():
        updating = in_a_thread(lambda: (turns.begin_update(), order.append("began"), turns.end_update()))
        updating.join(0.2)
        order.append("restored again")
    updating.join()
    assert order[2:] == ["restored again", "began"]


def test_an_update_that_failed_holds_no_restore_up() -> None:
    turns = UpdateTurns()
    in_a_thread(turns.begin_update).join()
    with turns.between_updates():
        turns.begin_update()
    with turns.between_updates():
        pass
