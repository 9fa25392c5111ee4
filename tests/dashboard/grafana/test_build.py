"""The shipped dashboard is what the code builds, and is consistent in itself."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from maxent_ray.dashboard.grafana.install import SHIPPED
from maxent_ray.dashboard.grafana.panels import SECTIONS, TARGET, UID, VARIABLES
from maxent_ray.runtime.metric_table import exported_metrics

DASHBOARD: dict[str, Any] = json.loads(SHIPPED.read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_it_is_what_the_code_builds() -> None:
    reason = "grafana-foundation-sdk is not installed: the shipped JSON cannot be compared with the code"
    pytest.importorskip("grafana_foundation_sdk", reason=reason)
    from maxent_ray.dashboard.grafana.build import build_json

    built = build_json()
    assert SHIPPED.read_text(encoding="utf-8") == built, "run python -m maxent_ray.dashboard.grafana.build"


def test_all_panels_of_the_table_are_in_it_with_their_queries() -> None:
    wanted = [
        (panel.title, [(query.expression, query.legend) for query in panel.queries])
        for section in SECTIONS
        for panel in section.panels
    ]
    shipped = [
        (panel["title"], [(target["expr"], target["legendFormat"]) for target in panel["targets"]]) for panel in PANELS
    ]
    assert shipped == wanted and DASHBOARD["uid"] == UID


def test_queries_ask_for_metrics_of_the_table_and_for_all_that_was_chosen() -> None:
    names = {each.in_prometheus for each in exported_metrics()}
    for panel in PANELS:
        for target in panel["targets"]:
            selectors = re.findall(r"(ray_maxent_\w+)\{([^}]*)\}", target["expr"])
            assert selectors and {name.removesuffix("_bucket") for name, _ in selectors} <= names
            assert all(chosen == ",".join(f'{label}=~"${label}"' for label in VARIABLES) for _, chosen in selectors)


def test_panels_have_ids_and_places_of_their_own_and_a_description() -> None:
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in every}) == len(every)
    assert all(panel["description"] and panel["options"]["legend"]["showLegend"] for panel in PANELS)


def test_coefficients_have_log_axes_and_targets_are_dashed() -> None:
    log = {
        panel["title"]
        for panel in PANELS
        if panel["fieldConfig"]["defaults"]["custom"].get("scaleDistribution", {}).get("type") == "log"
    }
    assert log >= {"Entropy temperature τ", "KL coefficient β"}
    for title in ("Entropy H and its target", "KL and its target"):
        panel = next(each for each in PANELS if each["title"] == title)
        measured, target, *_ = (each["legendFormat"].startswith(f"{TARGET} ") for each in panel["targets"])
        assert (measured, target) == (False, True)
        assert panel["fieldConfig"]["overrides"][0]["properties"][0]["value"]["fill"] == "dash"


def test_no_address_of_a_machine_is_in_it() -> None:
    assert not re.search(r"https?://|localhost", SHIPPED.read_text(encoding="utf-8"))
