"""What size brings: every configuration, the best of equally many, the law with its interval, and the check of it."""

import plotly.graph_objects as go

from hpo.report.charts.style import BLUE, GREEN, GREY, INK, SKY, VERMILION, Chart, logarithmic, nothing, shown, styled
from hpo.report.evidence import Evidence
from hpo.report.rate_against_size import RateFindings
from hpo.report.size_findings import Curve, SizeFindings

_NAME, _TITLE = "sizes", "What size brings"
_RATES, _RATES_TITLE = "rates", "Learning rate against size"


def sizes_chart(evidence: Evidence, found: SizeFindings) -> Chart:
    """Return scores against size on a logarithmic axis."""
    trials = [trial for trial in evidence.complete if trial.size]
    if not found.sizes or not trials:
        return nothing(_NAME, _TITLE, "No trial with a score has a size: `--size NAME` says what it is.")
    figure = go.Figure()
    if found.curve is not None:
        _draw_law(figure, found.curve)
    figure.add_scatter(
        x=[trial.size for trial in trials],
        y=[trial.score for trial in trials],
        mode="markers",
        name="trials",
        marker={"color": GREY, "size": 6, "opacity": 0.55},
        customdata=[[f"trial {trial.number}", trial.label] for trial in trials],
        hovertemplate="%{customdata[0]}<br>%{customdata[1]}<br>%{y:.5~g}<extra></extra>",
    )
    _draw_sizes(figure, found)
    styled(figure, x=f"parameters ({evidence.size_name.replace('_', ' ')})", y=evidence.score_name, height=460)
    reach = [*(trial.size or 1.0 for trial in trials), *(found.curve.sizes if found.curve else ())]
    figure.update_xaxes(**logarithmic(reach))
    return Chart(_NAME, _TITLE, _caption(found), figure)


def _caption(found: SizeFindings) -> str:
    caption = (
        f"The best of {found.common_draws} is what so many trials at a size would have found on average: a size with "
        "more trials has no head start."
        if found.common_draws
        else "Too few trials at each size to compare the best of equally many."
    )
    if found.curve is not None:
        return f"{caption} The band is the bracket over the unknown floor, joined with the bootstrap."
    return caption


def _draw_sizes(figure: go.Figure, found: SizeFindings) -> None:
    """Draw the best of equally many at each size, and the largest size as the law of the others predicts it."""
    compared = found.compared
    figure.add_scatter(
        x=[size.size for size in compared],
        y=[size.expected_best for size in compared],
        mode="markers+text",
        name=f"expected best of {found.common_draws}, 95 %",
        text=[size.label for size in compared],
        textposition="middle right",
        marker={"color": BLUE, "symbol": "diamond", "size": 11},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [(size.high or 0.0) - (size.expected_best or 0.0) for size in compared],
            "arrayminus": [(size.expected_best or 0.0) - (size.low or 0.0) for size in compared],
            "color": BLUE,
        },
    )
    if found.hold_out is not None:
        held = found.hold_out
        figure.add_scatter(
            x=[held.size],
            y=[held.predicted],
            mode="markers",
            name=f"{held.label} as the others predict it",
            marker={"color": VERMILION, "symbol": "x", "size": 11},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [held.high - held.predicted],
                "arrayminus": [held.predicted - held.low],
                "color": VERMILION,
            },
        )


def _draw_law(figure: go.Figure, curve: Curve) -> None:
    for ends, name, colour in (
        ((curve.high, curve.low), "law, interval", "rgba(86, 180, 233, 0.22)"),
        ((curve.bracket_high, curve.bracket_low), "law, bracket over the floor", "rgba(0, 114, 178, 0.20)"),
    ):
        high, low = ends
        figure.add_scatter(
            x=[*curve.sizes, *curve.sizes[::-1]],
            y=[*high, *low[::-1]],
            fill="toself",
            fillcolor=colour,
            line={"width": 0, "color": SKY},
            name=name,
            hoverinfo="skip",
        )
    figure.add_scatter(
        x=curve.sizes,
        y=curve.central,
        mode="lines",
        name="law, middle",
        line={"color": BLUE, "width": 2, "dash": "dash"},
        hoverinfo="skip",
    )


def rates_chart(evidence: Evidence, found: RateFindings | None) -> Chart:
    """Return the learning rates that were tried at each size, the best of them, and how they move."""
    if found is None:
        return nothing(_RATES, _RATES_TITLE, "The study searches no learning rate, or too many sizes to compare it at.")
    if not found.sizes:
        return nothing(_RATES, _RATES_TITLE, " ".join(found.sentences))
    trials = [trial for trial in evidence.complete if trial.size and (trial.number_of("learning_rate") or 0) > 0]
    figure = go.Figure()
    line = found.line
    if line is not None:
        figure.add_scatter(
            x=[*line.sizes, *line.sizes[::-1]],
            y=[*line.high, *line.low[::-1]],
            fill="toself",
            fillcolor="rgba(0, 158, 115, 0.18)",
            line={"width": 0},
            name="power law, 95 %",
            hoverinfo="skip",
        )
        look = {"color": GREEN, "dash": "dash"}
        figure.add_scatter(x=line.sizes, y=line.central, mode="lines", name="power law", line=look)
    figure.add_scatter(
        x=[trial.size for trial in trials],
        y=[trial.number_of("learning_rate") for trial in trials],
        mode="markers",
        name="tried",
        marker={"color": GREY, "size": 6, "opacity": 0.5},
        customdata=[[f"trial {trial.number}: {shown(trial.score or 0.0)}"] for trial in trials],
        hovertemplate="%{customdata[0]}<br>learning rate %{y:.2g}<extra></extra>",
    )
    figure.add_scatter(
        x=[size.size for size in found.sizes],
        y=[size.rate for size in found.sizes],
        mode="markers",
        name=f"mean of the best {found.best_few}, 95 %",
        marker={"color": GREEN, "symbol": "diamond", "size": 11, "line": {"color": INK, "width": 1}},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [size.high - size.rate for size in found.sizes],
            "arrayminus": [size.rate - size.low for size in found.sizes],
            "color": GREEN,
        },
    )
    styled(figure, x=f"parameters ({evidence.size_name.replace('_', ' ')})", y="learning rate", height=420)
    figure.update_xaxes(**logarithmic([*(trial.size or 1.0 for trial in trials), *(line.sizes if line else ())]))
    figure.update_yaxes(**logarithmic([trial.number_of("learning_rate") or 1.0 for trial in trials]))
    return Chart(_RATES, _RATES_TITLE, "Where the best few of each size lie among all that were tried.", figure)
