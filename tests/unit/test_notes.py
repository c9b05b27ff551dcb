"""The note on a study's page of the dashboard."""

from dataclasses import replace

from hpo.notes import note_text
from hpo.records import StudyRecord, StudyState

STUDY = StudyRecord("s", 1, {"budgets": ["2M"]}, "", {}, 20, StudyState.STOPPED, "stopped by hpo stop", {}, False)


def test_it_holds_the_reason_and_the_command_and_no_count_that_a_trial_under_way_would_change() -> None:
    note = note_text(STUDY, [])
    assert "**Stopped**: stopped by hpo stop." in note
    assert "`hpo resume s`" in note
    assert "complete" not in note


def test_forced_configurations_come_first_only_where_there_are_any() -> None:
    assert "the forced configurations first, then TPE" in note_text(STUDY, [])
    without = replace(STUDY, spec={"budgets": ["2M"], "forced_extremes": False})
    assert "forced" not in note_text(without, [])


def test_one_trial_is_no_trials() -> None:
    assert "The cap is 1 trial;" in note_text(replace(STUDY, cap=1), [])


def test_the_noise_is_told_where_it_is_known() -> None:
    known = replace(STUDY, evidence={"seed_noise": 0.0042})
    assert "Between seeds the score of one configuration varies with a standard deviation of 0.0042." in note_text(
        known, []
    )
    assert "seeds" not in note_text(STUDY, [])
