"""The table of logged signals is consistent, and keeps the names that users read."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

from maxent_ray.core.answer_metrics import METRICS, TRAINING_SIGNALS
from maxent_ray.core.signals import SIGNALS, target_of
from maxent_ray.core.state import Decision

NAMES = [signal.name for signal in SIGNALS]
OF_EVERY_ROW = {"step", "rank", "objective", "trial", "segment"}


def test_names_are_unique_fields_of_a_row() -> None:
    assert max(Counter(NAMES).values()) == 1
    assert all(name.isidentifier() for name in NAMES)
    assert not set(NAMES) & OF_EVERY_ROW


def test_rows_have_the_fields_that_users_read() -> None:
    assert set(NAMES) >= {
        "tau", "beta", "version", "reward", "pass_rate", "distinct", "coverage", "entropy", "target_entropy", "kl",
        "target_kl", "policy_entropy", "tied_share", "loss", "gradient_norm", "seconds", "seconds_rollout",
        "seconds_hypergradient", "seconds_controller", "reason", "failed_unrolls", "decided_locally",
    }  # fmt: skip


def test_the_controllers_gauges_are_fields_of_its_decision_and_keep_their_names() -> None:
    exported = {signal.name for signal in SIGNALS if signal.exporter == "decision"}
    assert exported <= {field.name for field in fields(Decision)}
    assert exported >= {"tau", "beta", "entropy", "kl", "target_entropy", "target_kl", "version", "tied_share"}


def test_help_texts_are_ascii_as_rays_metrics_need_it() -> None:
    assert all((signal.description + signal.unit).isascii() for signal in SIGNALS)


def test_every_metric_is_logged_on_training_groups() -> None:
    assert METRICS == ("mean", "pass_rate", "distinct", "coverage")
    assert set(TRAINING_SIGNALS.values()) <= set(NAMES)


def test_text_is_neither_reduced_nor_shown_and_counts_are_not_averaged() -> None:
    for signal in SIGNALS:
        if signal.over_ranks is None:
            assert (signal.exporter, signal.plotted, signal.summary) == (None, False, None)
        assert signal.summary != "total" or signal.over_ranks == "max"
        assert not signal.note or signal.summary == "total"


def test_targets_belong_to_signals() -> None:
    assert {target_of("entropy"), target_of("kl")} == {name for name in NAMES if name.startswith("target_")}
