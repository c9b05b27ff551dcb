"""How all charts look: colours that colour-blind people tell apart, and layouts that fit a phone and a printer.

The colours are those of Okabe and Ito ("Color universal design", 2008). Whatever a colour says, a shape or a word says
as well.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import plotly.graph_objects as go

from hpo.report.evidence import Kind

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY, INK = "#CC79A7", "#56B4E9", "#F0E442", "#767676", "#1f2933"
SERIES: Final = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, INK, GREY)
DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash")


@dataclass(frozen=True)
class Mark:
    """How the trials of one kind are drawn."""

    name: str
    colour: str
    symbol: str


MARKS: Final[Mapping[Kind, Mark]] = MappingProxyType(
    {
        Kind.FORCED: Mark("forced", BLUE, "circle"),
        Kind.SAMPLED: Mark("sampled", ORANGE, "diamond"),
        Kind.SUPPLEMENTARY: Mark("Phase 2", GREEN, "square"),
        Kind.REPEAT: Mark("another seed", PURPLE, "x"),
        Kind.ENQUEUED: Mark("enqueued by hand", SKY, "triangle-up"),
        Kind.UNKNOWN: Mark("trial", GREY, "circle"),
    }
)


@dataclass(frozen=True)
class Chart:
    """A figure with the words around it.

    Attributes:
        name: short and stable: an anchor of the page, and the name in the dashboard.
        title: what it shows.
        caption: how to read it, in a sentence or two.
        figure: None where there is nothing to draw; `missing` then says why.
        min_width: pixels below which it is scrolled sideways, not squeezed.
    """

    name: str
    title: str
    caption: str
    figure: go.Figure | None
    missing: str = ""
    min_width: int = 0


def nothing(name: str, title: str, missing: str) -> Chart:
    """Return a chart that there is nothing to draw for."""
    return Chart(name, title, "", None, missing)


def styled(figure: go.Figure, *, x: str, y: str, height: int = 420, **more: Any) -> go.Figure:  # noqa: ANN401
    """Give a figure the common look; the legend stands above it, where a phone has room."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        margin={"l": 10, "r": 14, "t": 10, "b": 10},
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom", "font": {"size": 12}},
        hoverlabel={"align": "left"},
        xaxis={"title": axis_title(x), "automargin": True},
        yaxis={"title": axis_title(y), "automargin": True},
    )
    figure.update_layout(**more)
    return figure


def axis_title(text: str) -> dict[str, Any]:
    """Return an axis' title."""
    return {"text": text, "standoff": 8, "font": {"size": 13}}


def logarithmic(values: Sequence[float], unit: str = "") -> dict[str, Any]:
    """Return what makes an axis logarithmic, with ticks that name a few round numbers in any range."""
    low, high = min(values) / 1.25, max(values) * 1.25
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(ticks) >= 3:
            break
    # More than six names run into each other on a phone.
    ticks = ticks[:: -(-len(ticks) // 6)] if ticks else [math.sqrt(low * high)]
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [short(tick) + unit for tick in ticks],
        "minor": {"showgrid": False},
    }


def shown(score: float) -> str:
    """Return a score in four decimals, or in four digits where that would hide it."""
    return f"{score:.4f}" if score == 0 or 1e-3 <= abs(score) < 1e4 else f"{score:.4g}"


def short(number: float) -> str:
    """Return a number in four digits at most: 2.26M, 0.00074, 1.2e-05."""
    for limit, sign in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g}{sign}"
    return f"{number:.3g}"
