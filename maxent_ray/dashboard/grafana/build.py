"""Build the dashboard's JSON with Grafana's own library; ``python -m maxent_ray.dashboard.grafana.build`` writes it.

The library is needed for this only: the JSON is in the package, and a test compares it with what is built.
"""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as models

from maxent_ray.dashboard.grafana.install import SHIPPED
from maxent_ray.dashboard.grafana.panels import LISTED, SECTIONS, TARGET, TITLE, UID, VARIABLES, Panel

WIDTH, HEIGHT = 12, 8
"""Of a panel, in Grafana's grid of 24 columns."""
_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")


def build_json() -> str:
    """Build the dashboard, as one JSON document."""
    built = (
        dashboard.Dashboard(TITLE)
        .uid(UID)
        .description("Entropy and KL of policies in training, and the coefficients that hold them on target")
        .tags(["ray", TITLE])
        .refresh("10s")
        .time("now-1h", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    filters: list[str] = []
    for label, name in VARIABLES.items():
        built.with_variable(_variable(label, name, filters))
        filters.append(f'{label}=~"${label}"')
    for section in SECTIONS:
        built.with_row(dashboard.Row(section.title))
        for panel in section.panels:
            built.with_panel(_panel(panel))
    made = built.build()
    for number, placed in enumerate(made.panels or [], 1):
        placed.id_val = number
    return f"{JSONEncoder(sort_keys=True, indent=2).encode(made)}\n"


def write_json(path: Path = SHIPPED) -> Path:
    """Write the dashboard into the package."""
    path.write_text(build_json(), encoding="utf-8")
    return path


def _variable(label: str, name: str, filters: list[str]) -> dashboard.QueryVariable:
    """A choice of several values of a label, among those that the choices before it leave."""
    series = f"{LISTED}{{{','.join(filters)}}}" if filters else LISTED
    every = models.VariableOption(selected=True, text="All", value="$__all")
    return (
        dashboard.QueryVariable(label)
        .label(name)
        .datasource(_SOURCE)
        .query({"query": f"label_values({series}, {label})", "refId": "StandardVariableQuery"})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.NATURAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(every)
    )


def _panel(panel: Panel) -> timeseries.Panel:
    """Lines over time; targets are dashed."""
    dashed = models.DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [8, 6]})
    made = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .span(WIDTH)
        .height(HEIGHT)
        .show_points(options.VisibilityMode.AUTO)
        .tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI))
        .legend(common.VizLegendOptions().show_legend(True).placement(options.LegendPlacement.BOTTOM))
        .override_by_regexp(f"/^{TARGET} /", [dashed])
    )
    if panel.logarithmic:
        made.scale_distribution(common.ScaleDistributionConfig().type(options.ScaleDistribution.LOG).log(10))
    if panel.stacked:
        made.fill_opacity(30).stacking(common.StackingConfig().mode(options.StackingMode.NORMAL))
    for letter, query in zip("ABCDEF", panel.queries, strict=False):
        made.with_target(
            prometheus.Dataquery().expr(query.expression).legend_format(query.legend).ref_id(letter).datasource(_SOURCE)
        )
    return made


if __name__ == "__main__":
    print(f"wrote {write_json()}")
