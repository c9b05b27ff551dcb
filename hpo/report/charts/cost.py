"""What a score costs: the trials, and the front of those that no cheaper one beats."""

import plotly.graph_objects as go

from hpo.report.charts.style import INK, MARKS, Chart, logarithmic, nothing, short, styled
from hpo.report.evidence import Evidence, Trial

_NAME, _TITLE = "cost", "Score against cost"


def cost(evidence: Evidence) -> Chart:
    """Return the scores against training FLOPs, or seconds where those are not known, with the Pareto front."""
    trials, measure, unit = priced(evidence)
    if len(trials) < 2:
        return nothing(_NAME, _TITLE, "What a trial costs is unknown: fewer than two have both a score and a time.")
    figure = go.Figure()
    for kind, mark in MARKS.items():
        own = [(trial, price) for trial, price in trials if trial.kind is kind]
        if own:
            figure.add_scatter(
                x=[price for _, price in own],
                y=[trial.score for trial, _ in own],
                mode="markers",
                name=mark.name,
                marker={"color": mark.colour, "symbol": mark.symbol, "size": 8, "opacity": 0.8},
                customdata=[
                    [f"trial {trial.number} of {trial.study}", trial.label, short(price)] for trial, price in own
                ],
                hovertemplate="%{customdata[0]}<br>%{customdata[1]}<br>%{y:.5~g} for %{customdata[2]} "
                + unit
                + "<extra></extra>",
            )
    front = pareto_front(trials, maximizes=evidence.maximizes)
    figure.add_scatter(
        x=[price for _, price in front],
        y=[trial.score for trial, _ in front],
        mode="lines+markers",
        name="Pareto front",
        line={"color": INK, "width": 1.5, "shape": "hv"},
        marker={"color": INK, "size": 11, "symbol": "circle-open"},
        hoverinfo="skip",
    )
    styled(figure, x=measure, y=evidence.score_name)
    figure.update_xaxes(**logarithmic([price for _, price in trials]))
    caption = (
        "Circled: no cheaper trial scores better. A step of the front that is lower than the noise between seeds is no "
        "reason to pay more."
    )
    return Chart(_NAME, _TITLE, caption, figure)


def priced(evidence: Evidence) -> tuple[list[tuple[Trial, float]], str, str]:
    """Return trials with a score and what each cost, the measure's title and its unit."""
    scored = [trial for trial in evidence.all_trials if trial.score is not None]
    flops = [(trial, trial.number_of("flops") or 0.0) for trial in scored]
    if scored and all(price > 0 for _, price in flops):
        return flops, "training cost (FLOP)", "FLOP"
    seconds = [(trial, trial.seconds or 0.0) for trial in scored]
    return [(trial, price) for trial, price in seconds if price > 0], "seconds of the trial", "s"


def pareto_front(trials: list[tuple[Trial, float]], *, maximizes: bool) -> list[tuple[Trial, float]]:
    """Return the trials that no cheaper or equally cheap one equals or beats, the cheapest first."""
    sign = 1.0 if maximizes else -1.0
    front: list[tuple[Trial, float]] = []
    for trial, price in sorted(trials, key=lambda pair: (pair[1], -sign * (pair[0].score or 0.0))):
        if not front or sign * (trial.score or 0.0) > sign * (front[-1][0].score or 0.0):
            front.append((trial, price))
    return front
