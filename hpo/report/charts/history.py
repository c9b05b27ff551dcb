"""The scores one after the other: what was forced, sampled and added, and where the search had converged."""

import plotly.graph_objects as go

from hpo.report.charts.style import INK, MARKS, Chart, nothing, styled
from hpo.report.evidence import Evidence, Kind, Trial

_NAME, _TITLE = "history", "The search"


def history(evidence: Evidence) -> Chart:
    """Return every score in the order in which it came, with the best so far."""
    scored = in_order(evidence)
    if not scored:
        return nothing(_NAME, _TITLE, "No trial has a score yet.")
    figure = go.Figure()
    for kind, mark in MARKS.items():
        own = [(place, trial) for place, trial in enumerate(scored, 1) if trial.kind is kind]
        if own:
            figure.add_scatter(
                x=[place for place, _ in own],
                y=[trial.score for _, trial in own],
                mode="markers",
                name=mark.name,
                marker={"color": mark.colour, "symbol": mark.symbol, "size": 9},
                customdata=[[f"trial {trial.number} of {trial.study}", trial.label] for _, trial in own],
                hovertemplate="%{customdata[0]}<br>%{customdata[1]}<br>%{y:.5~g}<extra></extra>",
            )
    figure.add_scatter(
        x=list(range(1, len(scored) + 1)),
        y=_best_so_far(scored, maximizes=evidence.maximizes),
        mode="lines",
        name="best so far",
        line={"color": INK, "width": 1.5, "shape": "hv"},
        hoverinfo="skip",
    )
    caption = "Every score, in the order in which the trials ended. The best of many is lucky; the line only rises."
    if not evidence.maximizes:
        caption = caption.replace("only rises", "only falls")
    place = _converged_at(evidence, scored)
    if place is not None:
        figure.add_vline(x=place + 0.5, line={"color": INK, "dash": "dot", "width": 1})
        figure.add_annotation(
            x=place + 0.5, y=0, yref="paper", text="converged ", showarrow=False, xanchor="right", yanchor="bottom"
        )
        caption += " The dotted line marks where the search had converged."
    styled(figure, x="trials that have ended", y=evidence.score_name)
    return Chart(_NAME, _TITLE, caption, figure)


def in_order(evidence: Evidence) -> list[Trial]:
    """Return the trials with a score in the order in which they ended; those of Phase 2 after Phase 1."""
    last = max((trial.ended.timestamp() for trial in evidence.all_trials if trial.ended), default=0.0)

    def key(trial: Trial) -> tuple[bool, float, int]:
        return trial.study != evidence.name, trial.ended.timestamp() if trial.ended else last, trial.number

    return sorted((trial for trial in evidence.all_trials if trial.score is not None), key=key)


def _best_so_far(scored: list[Trial], *, maximizes: bool) -> list[float]:
    found: list[float] = []
    for trial in scored:
        score = trial.score or 0.0
        before = found[-1] if found else score
        found.append(max(before, score) if maximizes else min(before, score))
    return found


def _converged_at(evidence: Evidence, scored: list[Trial]) -> int | None:
    """Return after how many ended trials the decision was made; None where the study has not converged."""
    record = evidence.record
    if record is None or record.state.value != "converged":
        return None
    count = record.evidence.get("count")
    own = [trial for trial in scored if trial.study == evidence.name]
    judged = 0
    for place, trial in enumerate(own):
        if isinstance(count, int) and judged == count and trial.kind is not Kind.REPEAT:
            return place
        # Repeats are no further trials of the search: the rule does not count them.
        judged += trial.kind is not Kind.REPEAT
    return len(own)
