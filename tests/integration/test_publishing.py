"""What a report leaves in optuna-dashboard, of studies of this service and of others."""

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna_dashboard import get_note, save_note

from hpo.report.publish import publish
from hpo.settings import Settings
from hpo.storage import Storage, open_storage


@pytest.fixture
def storage(home: Path) -> Iterator[Storage]:
    with open_storage(Settings(home=home)) as opened:
        yield opened


def foreign(storage: Storage) -> optuna.Study:
    study = optuna.create_study(study_name="theirs", storage=storage.optuna, direction="minimize")
    for number in range(6):
        study.add_trial(
            optuna.trial.create_trial(
                value=1.0 / (1 + number),
                params={"width": 2**number},
                distributions={"width": optuna.distributions.IntDistribution(1, 1024)},
            )
        )
    return study


def test_the_note_of_another_tools_study_stays_above_the_summary_however_often_it_is_published(
    storage: Storage,
) -> None:
    study = foreign(storage)
    save_note(study, "Mine: do not touch.")
    assert publish(storage, "theirs") > 0
    first = get_note(study)
    assert first.startswith("Mine: do not touch.")
    assert publish(storage, "theirs") > 0
    again = get_note(study)
    assert again.count("## What was learnt") == first.count("## What was learnt") == 1
    assert again.startswith("Mine: do not touch.")


def test_what_is_there_is_not_made_twice_until_a_trial_has_ended(storage: Storage) -> None:
    study = foreign(storage)
    assert publish(storage, "theirs", again=False) > 0
    assert publish(storage, "theirs", again=False) == 0
    study.add_trial(optuna.trial.create_trial(value=0.1, params={}, distributions={}))
    assert publish(storage, "theirs", again=False) > 0


def test_the_size_that_a_user_names_is_the_dashboards_size_too(storage: Storage) -> None:
    foreign(storage)
    assert publish(storage, "theirs", size="width") > publish(storage, "theirs")
