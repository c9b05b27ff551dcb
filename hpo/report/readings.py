"""The readings of test parts, as they are written down: before a test part is read, and what it said."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Engine

from hpo.report.evidence import Evidence
from hpo.report.final_result import FinalResult
from hpo.report.finalists import FinalPlan, study_version
from hpo.sql import statement

_PLAN, _RESULT = TypeAdapter(FinalPlan), TypeAdapter(FinalResult)


@dataclass(frozen=True)
class FinalReading:
    """A reading of a study's test part.

    Attributes:
        version: of the study, see `hpo.report.finalists.study_version`.
        read_at: when it was read first, in the database's time.
        plan: what was read, written down before.
        result: what it said; None while it is read, or where whoever read it has died.
        earlier: study and time of the readings of these prices before this one: each makes this one optimistic.
    """

    study: str
    version: str
    read_at: datetime
    plan: FinalPlan
    result: FinalResult | None
    earlier: tuple[tuple[str, datetime], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "study": self.study,
            "version": self.version,
            "read_at": self.read_at.isoformat(),
            "earlier_readings": [{"study": study, "read_at": when.isoformat()} for study, when in self.earlier],
            "plan": asdict(self.plan),
            "result": None if self.result is None else self.result.as_json(),
        }


def stored_reading(engine: Engine, study: str, version: str) -> FinalReading | None:
    """Return the reading of this version of a study, if its test part has been read."""
    values = {"study": study, "version": version}
    with engine.connect() as connection:
        row = connection.execute(statement("test_reading"), values).mappings().first()
    return None if row is None else _reading(dict(row), readings_before(engine, study, version))


def reading_of(engine: Engine, evidence: Evidence) -> FinalReading | None:
    """Return what the test part has said of a study as it is now, if it has been read."""
    record = evidence.record
    if record is None or record.phase != 1:
        return None
    return stored_reading(
        engine, record.name, study_version(record, [each.record for each in evidence.supplements if each.record])
    )


def readings_before(engine: Engine, study: str, version: str) -> tuple[tuple[str, datetime], ...]:
    """Return study and time of other readings of the prices of a study: before its own, or until now."""
    with engine.connect() as connection:
        rows = connection.execute(statement("test_readings_before"), {"study": study, "version": version})
        return tuple((row.study, row.read_at) for row in rows)


def begin_reading(engine: Engine, study: str, version: str, plan: FinalPlan) -> FinalReading:
    """Write down that the test part is about to be read, and by what; return what is written.

    It is what stood there before where somebody else has begun.
    """
    values = {"study": study, "version": version, "plan": json.dumps(asdict(plan))}
    with engine.begin() as connection:
        connection.execute(statement("begin_test_reading"), values)
    found = stored_reading(engine, study, version)
    assert found is not None
    return found


def end_reading(engine: Engine, reading: FinalReading, result: FinalResult) -> None:
    """Write down what the test part said; what is written already stays."""
    values = {"study": reading.study, "version": reading.version, "result": json.dumps(asdict(result))}
    with engine.begin() as connection:
        connection.execute(statement("end_test_reading"), values)


def _reading(row: Mapping[str, Any], earlier: tuple[tuple[str, datetime], ...]) -> FinalReading:
    result = None if row["result"] is None else _RESULT.validate_python(row["result"])
    return FinalReading(
        row["study"], row["version"], row["read_at"], _PLAN.validate_python(row["plan"]), result, earlier
    )
