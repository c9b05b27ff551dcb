"""How the best trials came to their scores, look by look at the validation part."""

import plotly.graph_objects as go

from hpo.report.charts.style import DASHES, SERIES, Chart, nothing, styled
from hpo.report.evidence import Evidence

_NAME, _TITLE = "curves", "Learning curves of the best"
_SHOWN = 8


def curves(evidence: Evidence) -> Chart:
    """Return the intermediate scores of the best trials that reported any."""
    shown = [trial for trial in evidence.ranked() if len(trial.curve) > 1][:_SHOWN]
    if not shown:
        return nothing(_NAME, _TITLE, "No trial has reported more than one intermediate score.")
    figure = go.Figure()
    for place, trial in enumerate(shown):
        where = "" if trial.study == evidence.name else f" ({trial.study.rpartition('/')[2]} Phase 2)"
        figure.add_scatter(
            x=[step for step, _ in trial.curve],
            y=[value for _, value in trial.curve],
            mode="lines+markers",
            name=f"{trial.number} {trial.label}{where}",
            line={"color": SERIES[place % len(SERIES)], "dash": DASHES[place % len(DASHES)], "width": 2},
            marker={"size": 5},
        )
    styled(figure, x="optimizer step", y=evidence.score_name, height=460)
    caption = "The score of a trial is its best look. One that still rises at its end may want more steps."
    return Chart(_NAME, _TITLE, caption, figure)
