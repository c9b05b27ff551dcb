"""A worker's pulse on a real Postgres: who was cut off itself judges nobody."""

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import eventually
from sqlalchemy import text

from hpo import control_schema
from hpo.control import Control
from hpo.presence import this_worker
from hpo.pulse import Pulse
from hpo.settings import load_settings
from hpo.storage import Storage, open_storage


class Deaf:
    """Listens to nothing."""

    def work(self) -> None: ...

    def leave(self) -> None: ...


@pytest.fixture
def storage(home: Path) -> Iterator[Storage]:
    with open_storage(load_settings({"HPO_HOME": str(home)})) as opened:
        control_schema.migrate(opened.engine)
        yield opened


def test_a_beat_that_stalls_and_comes_late_counts_as_having_been_cut_off(storage: Storage) -> None:
    me = this_worker()
    Control(storage.engine).register(me)
    with Pulse(storage.engine, me.id, 0.2, Deaf(), dict) as pulse:
        time.sleep(1)
        assert pulse.connected_seconds() == math.inf
        with storage.engine.begin() as connection:
            # The beat waits for this row, and nothing is raised.
            connection.execute(text("SELECT 1 FROM hpo.worker WHERE id = :id FOR UPDATE"), {"id": me.id})
            assert eventually(lambda: pulse.connected_seconds() == 0.0, 5)
        assert eventually(lambda: 0.0 < pulse.connected_seconds() < 5.0, 5)


def test_vitals_that_cannot_be_read_do_not_end_the_beats(storage: Storage) -> None:
    me, control = this_worker(), Control(storage.engine)
    control.register(me)

    def fail() -> dict[str, object]:
        raise OSError("stale file handle")

    with Pulse(storage.engine, me.id, 0.2, Deaf(), fail):
        time.sleep(1.5)
        (found,) = control.workers()
    assert found.silent_seconds < 1.0
