"""Exports that fail are told of once, counted, and stop nothing."""

from __future__ import annotations

import logging

import pytest

from maxent_ray.telemetry import Telemetry


def test_the_first_failure_is_one_line_and_all_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry("a page cannot be drawn; training continues")
    with caplog.at_level(logging.WARNING):
        for reason in ("no font", "no room"):
            with telemetry.attempt():
                raise OSError(reason)
        with telemetry.attempt():
            pass
    assert [record.message for record in caplog.records] == [
        "a page cannot be drawn; training continues (OSError: no font)"
    ]
    assert (telemetry.failures, telemetry.reason) == (2, "OSError: no font")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_is_no_failure(interruption: type[BaseException]) -> None:
    telemetry = Telemetry("never said")
    with pytest.raises(interruption), telemetry.attempt():
        raise interruption
    assert telemetry.failures == 0
