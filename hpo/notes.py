"""The note on a study's page of the dashboard: what it is, how it stands, and what to type next."""

from collections.abc import Iterator, Sequence

from hpo.output import count
from hpo.records import StudyRecord, StudyState


def note_text(study: StudyRecord, children: Sequence[str], learnt: str = "") -> str:
    """Return the note in Markdown.

    It holds nothing that changes while the study runs, nor after a stop or a convergence, when trials still end.

    Args:
        study: as it stands.
        children: names of the studies that supplement it.
        learnt: what a report has said of it, in Markdown.
    """
    return "\n".join([*_paragraphs(study, children), *(["", learnt.rstrip()] if learnt else [])]) + "\n"


def _paragraphs(study: StudyRecord, children: Sequence[str]) -> Iterator[str]:
    yield _what_it_is(study)
    yield ""
    reason = f": {study.reason}" if study.reason else ""
    yield f"**{study.state.value.capitalize()}**{reason}."
    if "seed_noise" in study.evidence:
        noise = study.evidence["seed_noise"]
        yield f"Between seeds the score of one configuration varies with a standard deviation of {noise:.2g}."
    yield f"The cap is {count(study.cap, 'trial')}; `hpo status {study.name}` counts them."
    if children:
        yield ""
        yield f"Phase 2 goes on in {', '.join(f'`{name}`' for name in children)}."
    yield ""
    yield "Next:"
    yield ""
    for command, meaning in next_commands(study, children):
        yield f"- `{command}` – {meaning}"


def _what_it_is(study: StudyRecord) -> str:
    budgets = ", ".join(study.spec.get("budgets", ()))
    around = study.spec.get("supplementary")
    if study.phase == 1 or not around:
        order = "the forced configurations first, then TPE" if study.spec.get("forced_extremes", True) else "TPE"
        until = "until its cap is used" if study.convergence_off else "until it converges"
        return f"**Phase 1** over the budgets {budgets}: {order}, {until}."
    return (
        f"**Phase 2** of `{study.parent}` at the budget {budgets}, around its trial {around['trial']}: "
        "the corners first, then TPE. "
        + (
            f"Shown as history, which does not count: {count(len(study.history), 'trial')} of Phase 1."
            if study.history
            else "No trial of Phase 1 lies inside the ranges of Phase 2, so none is shown as history."
        )
    )


def next_commands(study: StudyRecord, children: Sequence[str]) -> list[tuple[str, str]]:
    """Return what to type next, and what it does."""
    if study.state is StudyState.RUNNING:
        return [
            (f"hpo status {study.name} --watch", "watch it"),
            (f"hpo worker --study {study.name}", "another worker, on any machine"),
            (f"hpo stop {study.name}", "give out no more trials"),
        ]
    if study.state is StudyState.STOPPED:
        return [(f"hpo resume {study.name}", "let it go on")]
    more = (f"hpo resume {study.name} --trials {study.cap + 20}", "allow more trials")
    report = (f"hpo report {study.name} --out reports", "what was learnt, with figures")
    if study.phase == 1 and not children:
        return [report, (f"hpo phase2 {study.name}", "search the best budgets on"), more]
    return [report, more]
