"""All parameters of all trials at once, as lines from axis to axis."""

import math
from typing import Any

import plotly.graph_objects as go

from hpo.report.charts.style import Chart, nothing, short, styled
from hpo.report.evidence import Evidence, Trial, hashable

_NAME, _TITLE = "coordinates", "All parameters at once"
# Values over two powers of ten are told apart on a logarithmic axis alone.
_WIDE = 30.0


def coordinates(evidence: Evidence) -> Chart:
    """Return parallel coordinates of the study's own space; the score is the last axis and the colour."""
    trials = list(evidence.complete)
    names = [name for name in evidence.space if all(name in trial.params for trial in trials)]
    names = [name for name in names if len({hashable(trial.params[name]) for trial in trials}) > 1]
    if len(trials) < 3 or not names:
        return nothing(_NAME, _TITLE, "Fewer than three trials with a score, or no parameter that differs among them.")
    scores = [trial.score or 0.0 for trial in trials]
    dimensions = [_dimension(name, trials) for name in names]
    dimensions.append({"label": evidence.score_name, "values": scores})
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            # By rank: one diverged trial would leave all others with one colour.
            line={"color": _places(evidence, trials), "colorscale": "Cividis", "showscale": False},
            labelfont={"size": 12},
            # It would repeat the ends of each axis over the ticks there.
            rangefont={"color": "rgba(0, 0, 0, 0)"},
            tickfont={"size": 11},
        )
    )
    styled(figure, x="", y="", height=400, margin={"l": 50, "r": 50, "t": 50, "b": 24})
    caption = "One line a trial, the darker the better. Drag along an axis to keep the lines that pass there."
    return Chart(_NAME, _TITLE, caption, figure, min_width=130 * len(dimensions))


def _places(evidence: Evidence, trials: list[Trial]) -> list[int]:
    """Return the rank of each trial from the best, 0."""
    places = {trial.number: place for place, trial in enumerate(evidence.ranked(trials))}
    return [places[trial.number] for trial in trials]


def _dimension(name: str, trials: list[Trial]) -> dict[str, Any]:
    values = [trial.params[name] for trial in trials]
    label = name.replace("_", " ")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        kinds = sorted({str(value) for value in values}, key=_as_number)
        return {
            "label": label,
            "values": [kinds.index(str(value)) for value in values],
            "tickvals": list(range(len(kinds))),
            "ticktext": kinds,
        }
    if min(values) > 0 and max(values) / min(values) > _WIDE:
        low, high = math.log10(min(values)), math.log10(max(values))
        ticks = [low + step * (high - low) / 4 for step in range(5)]
        logs = [math.log10(value) for value in values]
        return {"label": label, "values": logs, "tickvals": ticks, "ticktext": [short(10**tick) for tick in ticks]}
    return {"label": label, "values": values}


def _as_number(text: str) -> tuple[float, str]:
    """Order 750k before 2M, and words after numbers."""
    factors = {"k": 1e3, "M": 1e6, "B": 1e9}
    digits, factor = (text[:-1], factors[text[-1]]) if text and text[-1] in factors else (text, 1.0)
    try:
        return float(digits) * factor, text
    except ValueError:
        return math.inf, text
