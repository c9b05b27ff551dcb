"""The trials of a study as they are kept, beside those that the database has."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from hpo import control_schema
from hpo.control import Control
from hpo.ledger import Ledger
from hpo.phase1 import ensure_study
from hpo.settings import Settings
from hpo.storage import Storage, open_storage
from studies.declaration import Prepared, architecture_values
from studies.spec import Spec


@pytest.fixture
def storage(home: Path) -> Iterator[Storage]:
    with open_storage(Settings(home=home)) as opened:
        control_schema.migrate(opened.engine)
        spec = Spec.model_validate({"name": "s", "objective": "objectives:score", "budgets": ["750k"], "trials": 6})
        ensure_study(opened, spec, Prepared(architecture_values(spec)))
        yield opened


def test_a_trial_that_a_restored_backup_does_not_have_is_forgotten(storage: Storage) -> None:
    control = Control(storage.engine)
    ledger = Ledger(control, "s")
    assert len(ledger.read()) == 2
    assert [trial.number for trial in ledger.waiting] == [0, 1]
    with storage.engine.begin() as connection:
        connection.execute(text("DELETE FROM hpo.trial WHERE number = 0"))
    assert ledger.read() == control.trials("s")
    assert [trial.number for trial in ledger.waiting] == [1]
    assert ledger.slots_begun == 0
