"""Which parameters decide whether a trial is among the best, and which only look like it."""

from collections.abc import Sequence

import plotly.graph_objects as go

from hpo.report.charts.style import INK, SERIES, Chart, nothing, styled
from hpo.report.importances import Importance

_NAME, _TITLE = "importances", "Which parameters matter"
_PATTERNS = ("", "/", "x", "\\", ".", "-")


def importances_chart(found: Sequence[Importance]) -> Chart:
    """Return the importance of every parameter, over all trials and within each budget, in units of the noise."""
    shown = [scope for scope in found if scope.parameters]
    if not shown:
        said = " ".join(f"{scope.sentence}." for scope in found)
        return nothing(_NAME, _TITLE, said or "No trial has a score.")
    names = list(dict.fromkeys(row.parameter for scope in shown for row in scope.parameters))
    figure = go.Figure()
    for place, scope in enumerate(shown):
        figure.add_bar(
            y=[row.parameter.replace("_", " ") for row in scope.parameters],
            x=[row.importance / row.baseline if row.baseline else 0.0 for row in scope.parameters],
            orientation="h",
            name=_scope_name(scope),
            marker={
                "color": SERIES[place % len(SERIES)],
                "pattern": {"shape": _PATTERNS[place % len(_PATTERNS)], "fgcolor": "#ffffff"},
            },
            customdata=[[row.importance, row.standing.value.replace("_", " ")] for row in scope.parameters],
            hovertemplate="%{y}: %{x:.2f} times the noise, %{customdata[1]}<br>PED-ANOVA %{customdata[0]:.3g}"
            "<extra>%{fullData.name}</extra>",
        )
    figure.add_vline(x=1, line={"color": INK, "width": 1.5, "dash": "dash"})
    height = 140 + max(30, 16 * len(shown)) * len(names)
    styled(figure, x="importance (1: shuffled scores)", y="", height=height, barmode="group")
    figure.update_yaxes(categoryorder="array", categoryarray=[name.replace("_", " ") for name in names[::-1]])
    caption = (
        "How much of what tells the best trials from all others lies in each parameter (PED-ANOVA), in units of what "
        "the same trials give with shuffled scores: only bars beyond the dashed line say anything."
    )
    return Chart(_NAME, _TITLE, caption, figure)


def _scope_name(scope: Importance) -> str:
    where = scope.budget or "all budgets"
    return f"{scope.study.rpartition('/')[2]} Phase 2" if "/" in scope.study else where
