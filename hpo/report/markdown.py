"""A report as Markdown: for a terminal, a pull request, and the note in the dashboard."""

from collections.abc import Iterator, Sequence

from hpo.report.charts.style import Chart
from hpo.report.findings import Findings
from hpo.report.summary import Summary
from hpo.report.top import top_columns


def markdown(found: Findings, words: Summary, charts: Sequence[Chart]) -> str:
    """Return all that the page says, without its figures."""
    return "\n".join(_lines(found, words, charts)) + "\n"


def summary_markdown(words: Summary) -> str:
    """Return the summary alone."""
    return "\n".join(_summary(words)) + "\n"


def _lines(found: Findings, words: Summary, charts: Sequence[Chart]) -> Iterator[str]:
    yield f"# {_escaped(found.study)}"
    yield ""
    yield words.standing
    yield ""
    yield from _summary(words)
    for chart in charts:
        sentences = words.details.get(chart.name) or ((chart.missing,) if chart.missing else ())
        if sentences:
            yield from _section(chart.title, sentences)
    yield ""
    yield "## The best trials"
    yield ""
    yield from _table(found)
    if words.final:
        yield from _section("The test part", words.final)
    if words.limits:
        yield from _section("What this can't tell", words.limits)


def _section(title: str, sentences: Sequence[str]) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    yield from (f"- {_escaped(sentence)}" for sentence in sentences)


def _summary(words: Summary) -> Iterator[str]:
    yield "## What was learnt"
    yield ""
    yield from (f"- {_escaped(sentence)}" for sentence in words.learnt)
    yield ""
    yield "## What to do next"
    yield ""
    for place, step in enumerate(words.next_steps, 1):
        yield f"{place}. {_escaped(step.why)}" + (f" `{step.command}`" if step.command else "")


def _table(found: Findings) -> Iterator[str]:
    if not found.top:
        yield "No trial has a score."
        return
    columns = top_columns(found.top)
    yield f"| {' | '.join(map(_escaped, columns))} |"
    yield f"|{'---|' * len(columns)}"
    for trial in found.top:
        yield f"| {' | '.join(_escaped(cell) for cell in trial.cells(columns))} |"


def _escaped(text: str) -> str:
    """Return a text that Markdown shows as it is: names of configurations hold underscores, and tables bars."""
    # What stands between backticks is shown as it is anyway.
    parts = " ".join(text.split()).split("`")
    return "`".join(part if place % 2 else _plain(part) for place, part in enumerate(parts))


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("_", "\\_").replace("*", "\\*").replace("<", "&lt;")
