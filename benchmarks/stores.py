"""Databases with many ended trials in them, made once and copied for every turn."""

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from no_training import smooth
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, distribution_to_json
from sqlalchemy import text

from hpo import control_schema, embedded
from hpo.phase1 import ensure_study
from hpo.settings import Settings
from hpo.storage import Storage, open_storage
from studies.declaration import Prepared, architecture_values, declare
from studies.spec import Spec

_ROWS = """
    INSERT INTO hpo.trial (study, number, slot, turn, attempt, origin, seed, params, state, worker, score, started_at,
                           ended_at)
    SELECT :study, row_number() OVER () - 1, row_number() OVER (), 1, 1, 'sampled', 1, each -> 'params', 'complete',
           'nobody', (each ->> 'score')::float, clock_timestamp(), clock_timestamp()
    FROM jsonb_array_elements(CAST(:trials AS jsonb)) each"""
_NUMBERED = """
    FROM jsonb_array_elements(CAST(:trials AS jsonb)) WITH ORDINALITY stored (each, place)
    JOIN trials ON trials.study_id = :study_id AND trials.number = place - 1"""
_OPTUNAS_ROWS = (
    """
    INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete)
    SELECT row_number() OVER () - 1, :study_id, 'COMPLETE', clock_timestamp() AT TIME ZONE 'UTC',
           clock_timestamp() AT TIME ZONE 'UTC'
    FROM jsonb_array_elements(CAST(:trials AS jsonb))""",
    f"""
    INSERT INTO trial_values (trial_id, objective, value, value_type)
    SELECT trial_id, 0, (each ->> 'score')::float, 'FINITE' {_NUMBERED}""",
    f"""
    INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
    SELECT trial_id, param.key, param.value::text::float, CAST(:distributions AS jsonb) ->> param.key
    {_NUMBERED} CROSS JOIN jsonb_each(each -> 'internal') param""",
    f"""
    INSERT INTO trial_user_attributes (trial_id, key, value_json)
    SELECT trial_id, fact.key, fact.value::text
    {_NUMBERED} CROSS JOIN jsonb_each(jsonb_build_object(
        'origin', 'sampled', 'slot', place, 'turn', 1, 'attempt', 1, 'seed', 1)) fact""",
    "ANALYZE",
)


def study_of(objective: str, cap: int, **values: object) -> Spec:
    """Return the specification of a search that samples alone, and whose convergence is looked at but never comes."""
    given = {
        "name": "s",
        "objective": objective,
        "budgets": ["750k", "2M", "20M", "200M"],
        "trials": cap,
        "forced_extremes": False,
        "early_stop": {"patience": 20, "threshold": 0.0},
    }
    return Spec.model_validate({**given, **values})


@dataclass
class Stores:
    """The databases of one embedded server."""

    server: embedded.EmbeddedServer
    settings: Settings

    def new(self, template: str = "template1") -> str:
        """Return the URL of a new database, a copy of another one that nobody is connected to."""
        name = f"bench_{uuid.uuid4().hex[:12]}"
        with open_storage(self.settings, self.server.url) as storage, storage.engine.connect() as connection:
            here = connection.execution_options(isolation_level="AUTOCOMMIT")
            here.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        return self.server.url.replace("/postgres?", f"/{name}?")

    def copy(self, url: str, objective: str) -> str:
        """Return the URL of a copy of a database that nobody is connected to, its study with this objective."""
        copied = self.new(_name_of(url))
        with self.opened(copied) as storage, storage.engine.begin() as connection:
            changed = json.dumps({"objective": objective})
            connection.execute(
                text("UPDATE hpo.study SET spec = spec || CAST(:changed AS jsonb)"), {"changed": changed}
            )
        return copied

    def filled(self, spec: Spec, stored: int) -> str:
        """Return the URL of a new database with a study and so many complete trials of it."""
        url = self.new()
        with self.opened(url) as storage:
            ensure_study(storage, spec, Prepared(architecture_values(spec)))
            if stored:
                _fill(storage, spec, stored)
        return url

    @contextmanager
    def opened(self, url: str) -> Iterator[Storage]:
        """Open a database, with all tables."""
        with open_storage(self.settings, url) as storage:
            control_schema.migrate(storage.engine)
            yield storage


@contextmanager
def stores() -> Iterator[Stores]:
    """Start an embedded server in a folder of its own, for processes that find the objectives of benchmarks."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    # The path of a socket is short.
    home = Path(tempfile.mkdtemp(prefix="hpo-bench-", dir="/tmp"))
    try:
        with embedded.use(home) as server:
            yield Stores(server, Settings(home=home))
    finally:
        embedded.release(home)
        shutil.rmtree(home, ignore_errors=True)


def _name_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def _fill(storage: Storage, spec: Spec, stored: int) -> None:
    space, random = declare(spec).space, np.random.default_rng(1)
    params = [{name: _drawn(each, random) for name, each in space.items()} for _ in range(stored)]
    rows = json.dumps(
        [
            {
                "params": each,
                "score": smooth(each),
                "internal": {name: space[name].to_internal_repr(value) for name, value in each.items()},
            }
            for each in params
        ]
    )
    distributions = {name: distribution_to_json(each) for name, each in space.items()}
    values = {
        "study": spec.name,
        "study_id": storage.optuna.get_study_id_from_name(spec.name),
        "trials": rows,
        "distributions": json.dumps(distributions),
    }
    # Not by Optuna, which would take eight minutes for 10,000.
    with storage.engine.begin() as connection:
        for statement in (_ROWS, *_OPTUNAS_ROWS):
            connection.execute(text(statement), values)
    trials = optuna.load_study(study_name=spec.name, storage=storage.optuna).get_trials(deepcopy=False)
    assert [trial.params for trial in trials[-3:]] == params[-3:], "Optuna must read what was written"


def _drawn(distribution: BaseDistribution, random: np.random.Generator) -> object:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(random.integers(len(distribution.choices)))]
    assert isinstance(distribution, FloatDistribution)
    if distribution.log:
        return float(np.exp(random.uniform(np.log(distribution.low), np.log(distribution.high))))
    return float(random.uniform(distribution.low, distribution.high))
