from __future__ import annotations

import io
import logging
import math
import sys
import threading
import time
from itertools import pairwise

import pytest
from rich.console import Console

from maxent_ray.report.progress import PLAIN_EVERY_S, PLAIN_WIDTH, Progress
from maxent_ray.report.timing import TimeLeft

ROW = {
    "step": 14,
    "reward": 0.31,
    "entropy": 1.93,
    "target_entropy": 1.98,
    "kl": 0.048,
    "target_kl": 0.05,
    "tau": 0.3,
    "beta": 0.1,
    "seconds": 0.5,
}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def piped(clock: Clock, stream: io.TextIOBase | None = None) -> tuple[Progress, io.TextIOBase]:
    stream = io.StringIO() if stream is None else stream
    console = Console(file=stream, force_terminal=False)  # type: ignore[arg-type]
    return Progress(480, 60, console=console, now=clock), stream


def population(progress: Progress, names: tuple[str, ...] = ("analytic", "truncated_backprop")) -> None:
    for objective in names:
        for i in range(4):
            progress.update(f"{objective}-{i}", objective, ROW, clones=i)
            progress.advance(5)


class TestPlain:
    def test_has_no_control_codes_and_fits(self) -> None:
        progress, stream = piped(Clock())
        with progress:
            progress.phase("population")
            population(progress)
        text = stream.getvalue()  # type: ignore[attr-defined]
        assert "\x1b" not in text and "\r" not in text and "…" not in text
        assert max(len(line) for line in text.splitlines()) <= PLAIN_WIDTH

    def test_says_everything_about_a_trial(self) -> None:
        progress, _ = piped(Clock())
        population(progress)
        progress.state("truncated_backprop-3", "paused")
        line = next(line for line in progress.plain().splitlines() if line.startswith("truncated_backprop-3"))
        assert line.split() == [
            "truncated_backprop-3", "truncated_backprop", "15/60", "0.31", "1.93/1.98", "0.048/0.050",
            "0.300", "0.100", "3", "paused",
        ]  # fmt: skip

    def test_prints_at_phase_changes_and_now_and_then(self) -> None:
        clock = Clock()
        progress, stream = piped(clock)

        def prints() -> int:
            return stream.getvalue().count("policy steps")  # type: ignore[attr-defined,no-any-return]

        with progress:
            progress.phase("population")
            assert prints() == 1
            population(progress)
            assert prints() == 1
            clock.now += PLAIN_EVERY_S - 0.1
            progress.advance(1)
            assert prints() == 1
            clock.now += 0.2
            progress.advance(1)
            assert prints() == 2
            progress.phase("held-out evaluation")
            assert prints() == 3
        assert prints() == 4
        assert "held-out evaluation" in stream.getvalue()  # type: ignore[attr-defined]

    def test_a_log_gets_single_lines_and_seldom_a_table(self) -> None:
        clock = Clock()
        progress, stream = piped(clock)
        with progress:
            progress.phase("training 8 trials")
            for _ in range(30):
                clock.now += PLAIN_EVERY_S + 0.1
                population(progress)
        lines = stream.getvalue().splitlines()  # type: ignore[attr-defined]
        assert "480 of 480 policy steps, 7:33 so far, 0:00 left -- training 8 trials: 8 running" in lines[-11]
        assert "" not in lines and not any(set("[#█━") & set(line) for line in lines)
        tables = [number for number, line in enumerate(lines) if line.startswith("trial ")]
        assert len(tables) == 2 and all("policy steps" in line for line in lines[: tables[0]])

    def test_a_log_gets_lines_while_nothing_happens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("maxent_ray.report.progress.PLAIN_EVERY_S", 0.01)
        stream = io.StringIO()
        with Progress(480, 60, console=Console(file=stream, force_terminal=False)):
            while stream.getvalue().count("0 of 480 policy steps") < 3:
                time.sleep(0.01)

    def test_a_reader_that_left_does_not_stop_the_training(self) -> None:
        class Closed(io.StringIO):
            def write(self, text: str) -> int:
                raise BrokenPipeError

        progress, _ = piped(Clock(), Closed())
        with progress:
            progress.phase("population")
            population(progress)

    def test_an_ascii_stream_is_survived(self) -> None:
        raw = io.BytesIO()
        progress, _ = piped(Clock(), io.TextIOWrapper(raw, encoding="ascii"))
        with progress:
            population(progress)
        assert b"analytic-0" in raw.getvalue()


class TestTable:
    def text(self, progress: Progress, width: int, height: int | None = None) -> str:
        console = Console(file=io.StringIO(), width=width, record=True)
        console.print(progress.render(width, height))
        return console.export_text()

    @pytest.mark.parametrize("width", [80, 100, 120])
    def test_fits_without_losing_a_value(self, width: int) -> None:
        progress, _ = piped(Clock())
        population(progress)
        text = self.text(progress, width)
        assert "…" not in text and max(len(line) for line in text.splitlines()) <= width
        assert text.count("running") == 8

    def test_unknown_values_are_dashes(self) -> None:
        progress, _ = piped(Clock())
        bad = {
            "step": None,
            "reward": math.nan,
            "entropy": None,
            "kl": math.inf,
            "tau": "?",
            "seconds": math.nan,
        }
        progress.update("analytic-0", "analytic", bad, clones=0)
        progress.update("analytic-1", "analytic", {}, clones=0)
        progress.advance(5)
        assert self.text(progress, 120).count("–") >= 2 * 7
        assert "nan" not in progress.plain() and "inf" not in progress.plain()

    def test_a_state_may_come_before_the_first_row_and_outlives_the_next(self) -> None:
        progress, _ = piped(Clock())
        progress.state("warm_start", "done")
        progress.state("analytic-0", "paused")
        progress.update("analytic-0", "analytic", ROW, clones=0)
        lines = self.text(progress, 100).splitlines()
        assert "paused" in next(line for line in lines if line.startswith("analytic-0"))
        assert [line.split()[0] for line in lines[2:4]] == [
            "analytic-0",
            "warm_start",
        ]  # references come last

    def test_trials_that_do_not_fit_are_counted_and_the_bar_stays(self) -> None:
        progress, _ = piped(Clock())
        population(progress)
        text = self.text(progress, 100, height=12)
        assert "… and 3 more" in text and "policy steps" in text
        assert len(text.splitlines()) <= 12

    def test_distance_from_the_target_has_a_colour(self) -> None:
        progress, _ = piped(Clock())
        progress.update("analytic-0", "analytic", {**ROW, "entropy": 1.98, "kl": 0.1}, clones=0)
        console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system="standard")
        with console.capture() as capture:
            console.print(progress.render(120))
        assert "\x1b[32m1.98 / 1.98" in capture.get()  # on target: green
        assert "\x1b[31m0.100 / 0.050" in capture.get()  # twice the target: red


def test_a_terminal_gets_a_live_table_from_many_threads() -> None:
    stream = io.StringIO()
    console = Console(
        file=stream, width=120, height=40, force_terminal=True, legacy_windows=False, _environ={}
    )
    with Progress(480, 60, console=console) as progress:
        progress.phase("population")
        threads = [
            threading.Thread(target=population, args=(progress, (name,))) for name in ("analytic", "grpo")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        console.print("a line of somebody else")
    assert "a line of somebody else" in stream.getvalue()
    assert "40 of 480 policy steps" in stream.getvalue()


def test_log_lines_pass_above_a_live_table() -> None:
    handler = logging.StreamHandler(sys.stderr)  # made before, as those of other libraries are
    logger = logging.getLogger("somebody.else")
    logger.addHandler(handler)
    before, stream = sys.stderr, io.StringIO()
    console = Console(
        file=stream, width=120, height=40, force_terminal=True, legacy_windows=False, _environ={}
    )
    try:
        with Progress(480, 60, console=console) as progress:
            progress.phase("population")
            logger.warning("a warning")
        assert "a warning" in stream.getvalue()
        assert handler.stream is before
    finally:
        logger.removeHandler(handler)


class TestTimeLeft:
    def test_start_up_does_not_count(self) -> None:
        left = TimeLeft(total=100)
        left.start(0.0)
        assert left.at(29.0) is None
        left.advance(5, now=30.0, step_seconds=1.0)  # 25 s of start-up
        assert left.at(30.0) == pytest.approx(95.0)

    def test_parallel_trials_that_report_together_give_their_joint_speed(self) -> None:
        left = TimeLeft(total=100)
        left.start(0.0)
        for offset in (0.0, 0.01, 0.02, 0.03):
            left.advance(5, now=30.0 + offset, step_seconds=1.0)
        assert left.at(30.03) == pytest.approx(80 * 5.03 / 20)

    def test_without_step_times_it_counts_from_the_start(self) -> None:
        left = TimeLeft(total=20)
        left.start(10.0)
        left.advance(10, now=30.0, step_seconds=None)
        assert left.at(30.0) == pytest.approx(20.0)

    def test_a_steady_job_counts_down_without_jumps(self) -> None:
        left = TimeLeft(total=100)
        left.start(0.0)
        seen = []
        for second in range(1, 201):
            if second > 20 and second % 5 == 0:
                left.advance(5, now=float(second), step_seconds=1.0)
            seen.append(left.at(float(second)))
        known = [value for value in seen if value is not None]
        assert known[0] == pytest.approx(95.0) and known[-1] == 0.0
        # The last reports excepted, where half a report is left, every second takes one second off.
        assert [b - a for a, b in pairwise(known[:90])] == pytest.approx([-1.0] * 89)

    def test_a_stalled_job_is_never_finished(self) -> None:
        left = TimeLeft(total=100)
        left.start(0.0)
        left.advance(90, now=90.0, step_seconds=1.0)
        assert left.at(90.0) == pytest.approx(10.0)
        assert left.at(300.0) == pytest.approx(5.0)

    def test_replayed_steps_say_nothing_about_the_speed(self) -> None:
        left = TimeLeft(total=100)
        left.start(0.0)
        left.replay(50)
        assert left.at(1.0) is None
        left.advance(10, now=40.0, step_seconds=2.0)
        assert left.at(40.0) == pytest.approx(40 * 2.0)
