"""A report as one HTML file that needs no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from hpo.report.charts.style import Chart
from hpo.report.findings import Findings
from hpo.report.summary import Summary
from hpo.report.top import top_columns

# Without its tool bar, which would lie over the legend; dragging zooms, and a double click goes back.
_OPTIONS = {"responsive": True, "displayModeBar": False}


@dataclass(frozen=True)
class _DrawnChart:
    name: str
    title: str
    caption: str
    body: str
    missing: str
    min_width: int
    sentences: Sequence[str]


def page(found: Findings, words: Summary, charts: Sequence[Chart], made: datetime) -> str:
    """Return the whole page; what users have named is escaped."""
    columns = top_columns(found.top)
    return _template().render(
        found=found,
        words=words,
        charts=[_drawn(chart, words) for chart in charts],
        top_columns=columns,
        top_rows=[trial.cells(columns) for trial in found.top],
        plotly_script=get_plotlyjs(),
        made=f"{made:%Y-%m-%d %H:%M}",
    )


def _drawn(chart: Chart, words: Summary) -> _DrawnChart:
    body = ""
    if chart.figure is not None:
        body = chart.figure.to_html(
            full_html=False, include_plotlyjs=False, config=_OPTIONS, div_id=f"chart-{chart.name}"
        )
    sentences = words.details.get(chart.name, ())
    return _DrawnChart(chart.name, chart.title, chart.caption, body, chart.missing, chart.min_width, sentences)


@cache
def _template() -> Template:
    source = (files("hpo.report") / "page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters["worded"] = _worded
    return environment.from_string(source)


def _worded(text: str) -> Markup:
    """Return a sentence with what stands between backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))
