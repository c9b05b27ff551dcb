"""What trials of every size take: memory and time."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hpo.report.charts.style import BLUE, VERMILION, Chart, axis_title, logarithmic, nothing, styled
from hpo.report.evidence import Evidence, Trial

_NAME, _TITLE = "resources", "Memory and throughput"


def resources(evidence: Evidence) -> Chart:
    """Return peak memory, and trials an hour of one worker, by size."""
    sized = [trial for trial in evidence.all_trials if trial.size and trial.seconds and trial.score is not None]
    if not sized:
        return nothing(_NAME, _TITLE, "Sizes and times of the trials are unknown.")
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    with_memory = [trial for trial in sized if trial.number_of("peak_memory_mb")]
    memory = [(trial.number_of("peak_memory_mb") or 0.0) for trial in with_memory]
    _points(figure, 1, with_memory, memory, ("peak memory", BLUE, "circle", "%{y:,.0f} MiB"))
    pace = [3600 / (trial.seconds or 1.0) for trial in sized]
    _points(figure, 2, sized, pace, ("trials an hour", VERMILION, "diamond", "%{y:,.1f} an hour"))
    styled(figure, x="", y="", height=520, showlegend=False)
    figure.update_xaxes(**logarithmic([trial.size or 1.0 for trial in sized]), automargin=True)
    figure.update_xaxes(title=axis_title(f"parameters ({evidence.size_name.replace('_', ' ')})"), row=2, col=1)
    figure.update_yaxes(title=axis_title("peak memory (MiB)"), rangemode="tozero", automargin=True, row=1, col=1)
    figure.update_yaxes(title=axis_title("trials an hour"), **logarithmic(pace), automargin=True, row=2, col=1)
    caption = (
        "Above: the largest resident memory of each trial's process, what it shares with others included. Below: how "
        "many such trials one worker ends in an hour."
    )
    return Chart(_NAME, _TITLE, caption, figure)


def _points(
    figure: go.Figure, row: int, trials: list[Trial], values: list[float], look: tuple[str, str, str, str]
) -> None:
    name, colour, symbol, hover = look
    figure.add_scatter(
        x=[trial.size for trial in trials],
        y=values,
        mode="markers",
        name=name,
        marker={"color": colour, "symbol": symbol, "size": 8, "opacity": 0.7},
        customdata=[[f"trial {trial.number} of {trial.study}", trial.label] for trial in trials],
        hovertemplate="%{customdata[0]}<br>%{customdata[1]}<br>" + hover + "<extra></extra>",
        row=row,
        col=1,
    )
