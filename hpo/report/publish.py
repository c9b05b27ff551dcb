"""Figures and summary in optuna-dashboard, where those look who browse the trials."""

import warnings
from typing import Final

import optuna

from hpo.advisory_lock import advisory_lock
from hpo.control import Control
from hpo.mirror import LEARNT
from hpo.notes import note_text
from hpo.report.evidence import Evidence
from hpo.report.reading import read_evidence
from hpo.settings import Settings
from hpo.storage import Storage, open_storage

_WHEN = "report"
"""The user attribute of a study that says how it stood when its report was made: its state, and its ended trials."""


_CARD: Final = {"height": 450, "margin": {"t": 120}}
"""The height of a figure's card in the dashboard, and room for a title above a legend of three lines, in pixels."""


def publish_in_fork(_channel: object, settings: Settings, storage_url: str | None, name: str) -> None:
    """Put what was learnt of a study into the dashboard, unless it is there already; called in a fork.

    Of several at once one does it.
    """
    with open_storage(settings, storage_url) as storage:
        record = Control(storage.engine).study(name)
        for each in [name] if record is None or record.parent is None else [name, record.parent]:
            with storage.engine.connect() as connection, advisory_lock(connection, f"hpo report {each}"):
                publish(storage, each, again=False)


def publish(storage: Storage, name: str, *, size: str | None = None, again: bool = True) -> int:
    """Put figures and summary of a study into the dashboard; return how many figures were written.

    Args:
        storage: of the study.
        name: of the study.
        size: the parameter or attribute that is a trial's size, where the study does not say.
        again: also where no trial has ended since it was done.
    """
    evidence = read_evidence(storage, name, size)
    study = optuna.load_study(study_name=name, storage=storage.optuna)
    ended = sum(trial.state not in {"running", "waiting"} for trial in evidence.all_trials)
    when = [evidence.record.state.value if evidence.record else "", ended]
    if not again and study.user_attrs.get(_WHEN) == when:
        return 0
    # Only now: drawing loads for a second what most calls don't need.
    from optuna_dashboard import save_plotly_graph_object

    from hpo.report.drawing import draw
    from hpo.report.findings import findings
    from hpo.report.markdown import summary_markdown
    from hpo.report.readings import reading_of
    from hpo.report.summary import summarize

    found = findings(evidence, reading_of(storage.engine, evidence))
    learnt = summary_markdown(summarize(found))
    drawn = {chart.name: (chart.title, chart.figure) for chart in draw(found) if chart.figure is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for chart, (title, figure) in drawn.items():
            figure.update_layout(title={"text": title, "x": 0.02, "y": 0.98, "yanchor": "top"}, **_CARD)
            save_plotly_graph_object(study, figure, graph_object_id=f"hpo-{chart}")
    _note(storage, study, evidence, learnt)
    study.set_user_attr(LEARNT, learnt)
    study.set_user_attr(_WHEN, when)
    return len(drawn)


def _note(storage: Storage, study: optuna.Study, evidence: Evidence, learnt: str) -> None:
    """Put the summary into the note; what the owner of another tool's study has written there stays above it."""
    from optuna_dashboard import get_note, save_note

    if evidence.record is None:
        before = get_note(study).replace(str(study.user_attrs.get(LEARNT, "")), "").rstrip()
        save_note(study, f"{before}\n\n{learnt}".lstrip())
        return
    # Read again: it may have been resumed while the figures were drawn.
    record = Control(storage.engine).study(evidence.name) or evidence.record
    save_note(study, note_text(record, [each.name for each in evidence.supplements], learnt if record.ended else ""))
