"""Every effect with its interval, against no difference at all."""

from typing import Final

import plotly.graph_objects as go

from hpo.report.charts.style import GREEN, GREY, INK, VERMILION, Chart, nothing, styled
from hpo.report.effects import Effect, EffectFindings
from hpo.report.significance import Verdict

_NAME, _TITLE = "effects", "Effects against the noise"
_LOOKS: Final = {
    Verdict.BETTER: ("better", GREEN, "triangle-up"),
    Verdict.WORSE: ("worse", VERMILION, "triangle-down"),
    Verdict.BELOW_THE_NOISE: ("below the noise", GREY, "circle"),
    Verdict.UNKNOWN: ("unknown: no interval", INK, "circle-open"),
}


def effects_chart(found: EffectFindings) -> Chart:
    """Return all effects that have a difference, one a line, in the order in which they were compared."""
    shown = [effect for effect in found.effects if effect.difference is not None]
    if not shown:
        why = " ".join(f"{note}." for note in found.notes) or "No two configurations could be compared."
        return nothing(_NAME, _TITLE, why)
    several = len({effect.study for effect in shown}) > 1
    labels = [_label(effect, several=several) for effect in shown]
    figure = go.Figure()
    for verdict, (name, colour, symbol) in _LOOKS.items():
        own = [(effect, label) for effect, label in zip(shown, labels, strict=True) if effect.verdict is verdict]
        if own:
            figure.add_scatter(
                x=[effect.difference for effect, _ in own],
                y=[label for _, label in own],
                mode="markers",
                name=name,
                marker={"color": colour, "symbol": symbol, "size": 9},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [_reach(effect.high, effect) for effect, _ in own],
                    "arrayminus": [_reach(effect.low, effect) for effect, _ in own],
                    "color": colour,
                    "thickness": 1.5,
                    "width": 4,
                },
                customdata=[[effect.contrast] for effect, _ in own],
                hovertemplate="%{customdata[0]}<br>%{x:+.3~g}<extra></extra>",
            )
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    styled(figure, x="difference in score, right is better", y="", height=130 + 26 * len(shown))
    figure.update_yaxes(categoryorder="array", categoryarray=labels[::-1], tickfont={"size": 12})
    caption = (
        "A value against its default, with the 95 % interval of that one difference. An interval that leaves out zero "
        f"is no finding by itself: of {found.comparisons} looked at, some do so by luck. The symbol takes that into "
        "account."
    )
    return Chart(_NAME, _TITLE, caption, figure)


def _label(effect: Effect, *, several: bool) -> str:
    name = effect.name if effect.budget is None or effect.budget in effect.name else f"{effect.name} at {effect.budget}"
    if effect.budget is None and "=" in effect.name:
        name = f"{effect.name}, all budgets"
    return f"{name} · {effect.study.rpartition('/')[2]}" if several and "/" in effect.study else name


def _reach(end: float | None, effect: Effect) -> float:
    return 0.0 if end is None or effect.difference is None else abs(end - effect.difference)
