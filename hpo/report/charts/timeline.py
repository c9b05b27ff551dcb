"""Who ran what and when, and what went wrong."""

from datetime import datetime
from typing import Final

import plotly.graph_objects as go

from hpo.report.charts.style import BLUE, GREEN, GREY, ORANGE, VERMILION, Chart, nothing, shown, styled
from hpo.report.evidence import Evidence, Trial

_NAME, _TITLE = "timeline", "Workers"
# State or cause, colour, and a pattern that says the same without colour.
_LOOKS: Final = {
    "complete": (BLUE, ""),
    "failed": (VERMILION, "x"),
    "out of memory": (ORANGE, "/"),
    "ran again": (GREY, "\\"),
    "pruned": (GREEN, "-"),
    "running": ("#ffffff", "."),
}
_MOST_WORKERS = 40


def timeline(evidence: Evidence) -> Chart:
    """Return a bar for every trial on the line of its worker."""
    ran = [trial for trial in evidence.all_trials if trial.began]
    if not ran:
        return nothing(_NAME, _TITLE, "No trial has begun yet, or nothing says when.")
    lines = _lines(ran)
    if len(lines) > _MOST_WORKERS:
        return nothing(_NAME, _TITLE, f"{len(lines)} workers are too many to draw.")
    first = min(trial.began for trial in ran if trial.began)
    last = max(trial.ended or trial.began for trial in ran if trial.began)
    divisor, unit = _unit((last - first).total_seconds())
    figure = go.Figure()
    for look, (colour, pattern) in _LOOKS.items():
        own = [trial for trial in ran if _look(trial) == look]
        if own:
            figure.add_bar(
                base=[_since(first, trial.began) / divisor for trial in own],
                x=[max(_since(trial.began, trial.ended or last), 0.0) / divisor for trial in own],
                y=[lines[str(trial.value("worker"))] for trial in own],
                orientation="h",
                name=look,
                marker={"color": colour, "pattern": {"shape": pattern}, "line": {"color": "#ffffff", "width": 1}},
                customdata=[[f"trial {trial.number} of {trial.study}", trial.label, _said(trial)] for trial in own],
                hovertemplate="%{customdata[0]}<br>%{customdata[1]}<br>%{customdata[2]}<extra></extra>",
            )
    height = 150 + 34 * len(lines)
    styled(figure, x=f"{unit} since the first trial began", y="", height=height, barmode="overlay")
    names = "; ".join(f"{short} is {worker}" for worker, short in lines.items() if worker != "None")
    caption = "One bar a trial. Gaps are time without work."
    return Chart(_NAME, _TITLE, f"{caption} {names}." if names else caption, figure)


def _lines(ran: list[Trial]) -> dict[str, str]:
    """Return a short name for every worker, in the order in which they began."""
    workers = dict.fromkeys(
        str(trial.value("worker")) for trial in sorted(ran, key=lambda trial: trial.began or datetime.max)
    )
    return {worker: "unknown" if worker == "None" else f"worker {place}" for place, worker in enumerate(workers, 1)}


def _look(trial: Trial) -> str:
    if trial.attributes.get("cause") == "out_of_memory":
        return "out of memory"
    return "ran again" if trial.state == "replaced" else trial.state


def _said(trial: Trial) -> str:
    if trial.score is not None:
        return shown(trial.score)
    lines = str(trial.attributes.get("message", "")).strip().splitlines()
    return lines[-1][:120] if lines else trial.state


def _since(first: datetime | None, then: datetime | None) -> float:
    return (then - first).total_seconds() if first and then else 0.0


def _unit(seconds: float) -> tuple[float, str]:
    for divisor, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds > 2 * divisor:
            return divisor, unit
    return 1.0, "seconds"
