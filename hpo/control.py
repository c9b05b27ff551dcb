"""The control schema: who may run what. Plain statements with guards; no decisions and no Optuna here."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine

from hpo.instability import BatchSwing
from hpo.pruning import Curve, stored_curve
from hpo.records import (
    Alert,
    Cause,
    Counts,
    Key,
    OpenWork,
    Origin,
    Outcome,
    Pace,
    RepeatedFailure,
    StudyRecord,
    StudyState,
    Throughput,
    TrialRecord,
    TrialState,
    WorkerRecord,
)
from hpo.sql import statement
from hpo.storage import reading_of


class Control:
    """Typed access to the control schema."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reading = reading_of(engine)

    def add_study(self, study: StudyRecord, trials: list[TrialRecord]) -> None:
        """Insert a study and its first trials, all or nothing."""
        with self.engine.begin() as connection:
            connection.execute(
                statement("insert_study"),
                {
                    "name": study.name,
                    "phase": study.phase,
                    "spec": json.dumps(study.spec),
                    "fingerprint": study.fingerprint,
                    "prepared": json.dumps(study.prepared),
                    "cap": study.cap,
                    "convergence_off": study.convergence_off,
                    "parent": study.parent,
                    "history": json.dumps(list(study.history)),
                },
            )
            for trial in trials:
                _insert_trial(connection, study.name, trial)

    def study(self, name: str) -> StudyRecord | None:
        """Return the study of that name, if there is one."""
        rows = self._read("study", name=name)
        return StudyRecord(**{**rows[0], "state": StudyState(rows[0]["state"])}) if rows else None

    def study_names(self) -> list[str]:
        """Names of all studies, oldest first."""
        return [row["name"] for row in self._read("study_names")]

    def open_studies(self) -> list[str]:
        """Names of the studies that give out trials, oldest first."""
        return [row["name"] for row in self._read("open_studies")]

    def open_work(self, studies: Sequence[str] = ()) -> list[OpenWork]:
        """Return what these studies, or all, have for a worker; the one that has waited longest first."""
        return [
            OpenWork(
                row["name"],
                row["spec"],
                row["gives"],
                row["unsaid"],
                tuple(WorkerRecord(**holder) for holder in row["holders"]),
            )
            for row in self._read("open_work", only=list(studies) or None)
        ]

    def children(self, parent: str) -> list[str]:
        """Names of the studies that supplement this one, oldest first."""
        return [row["name"] for row in self._read("children", parent=parent)]

    def set_how_it_runs(self, name: str, options: Mapping[str, Any]) -> None:
        """Change what is no part of what a study searches, also of the studies that supplement it."""
        with self.engine.begin() as connection:
            connection.execute(statement("set_how_it_runs"), {"name": name, "options": json.dumps(options)})

    def mark_noted(self, study: StudyRecord) -> None:
        """Remember that the dashboard says how the study stands."""
        with self.engine.begin() as connection:
            values = {"name": study.name, "state": study.state, "cap": study.cap}
            connection.execute(statement("mark_noted"), values)

    def note_again(self, name: str) -> None:
        """Have the note in the dashboard written anew by whoever comes next."""
        with self.engine.begin() as connection:
            connection.execute(statement("note_again"), {"name": name})

    def decide(self, name: str, state: StudyState, reason: str, evidence: Mapping[str, Any]) -> bool:
        """End the running of a study; return whether this call did it, not an earlier one."""
        return self._write("change_state", name=name, state=state, reason=reason, evidence=json.dumps(evidence))

    def resume(self, study: StudyRecord, reason: str) -> bool:
        """Let a study give out trials again, with the cap, specification and convergence rule of the record."""
        return self._write(
            "resume_study",
            name=study.name,
            reason=reason,
            cap=study.cap,
            spec=json.dumps(study.spec),
            fingerprint=study.fingerprint,
            convergence_off=study.convergence_off,
        )

    def begin_trial(self, study: str, trial: TrialRecord, worker: str) -> bool:
        """Insert a trial that this worker runs; return False when its slot and turn, or its number, is taken."""
        with self.engine.begin() as connection:
            return _insert_trial(connection, study, trial, worker)

    def begin_new_trial(
        self,
        study: str,
        trial: TrialRecord,
        worker: str,
        make: Callable[[Connection], int],
        *,
        call_others: bool = False,
    ) -> TrialRecord | None:
        """Make a trial elsewhere and insert it as one that this worker runs, both or neither.

        Args:
            study: its name.
            trial: whose number is not known yet.
            worker: that holds it.
            make: writes it where numbers are given, in the same transaction, and returns its number.
            call_others: whether idle workers are to look for work as well.

        Returns:
            The trial, or None when its slot and turn, or its number, is taken.
        """
        with self.engine.connect() as connection, connection.begin() as transaction:
            numbered = replace(trial, number=make(connection), state=TrialState.RUNNING, worker=worker)
            if call_others:
                connection.execute(statement("say_work"))
            if not _insert_trial(connection, study, numbered, worker):
                transaction.rollback()
                return None
        return numbered

    def replace_trial(self, study: str, lost: TrialRecord, outcome: Outcome, by: TrialRecord) -> bool:
        """End a running trial as replaced and insert its successor, both or neither; each names the other.

        Returns:
            False when the trial was not running under `lost.worker` any more: then nothing has changed.
        """
        following = {**outcome.attributes, "retried_as": by.number}
        with self.engine.begin() as connection:
            if not _end_trial(
                connection, study, lost, TrialState.REPLACED, outcome.cause, outcome.message, None, following
            ):
                return False
            _insert_trial(connection, study, by)
            return True

    def end_trial(
        self,
        study: str,
        trial: TrialRecord,
        state: TrialState,
        *,
        cause: Cause | None = None,
        message: str = "",
        score: float | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> bool:
        """End a running trial; return False when `trial.worker` does not hold it any more."""
        with self.engine.begin() as connection:
            return _end_trial(connection, study, trial, state, cause, message, score, attributes or {})

    def start_trial(self, study: str, number: int, worker: str) -> bool:
        """Give a waiting trial to a worker; return False when it is not waiting."""
        return self._write("start_trial", study=study, number=number, worker=worker)

    def trials(self, study: str) -> list[TrialRecord]:
        """Return the trials of a study, in the order of their numbers."""
        return [_trial(row) for row in self._read("trials", study=study)]

    def changed_trials(
        self, study: str, after: int, running: Collection[int], waiting: Collection[int]
    ) -> tuple[int, list[TrialRecord]]:
        """Return how many trials there are, and those that have changed, in the order of their numbers.

        Args:
            study: its name.
            after: trials above this number are new.
            running: numbers of those that ran when they were read.
            waiting: numbers of those that waited.
        """
        with self._reading.connect() as connection:
            total = connection.execute(statement("trial_count"), {"study": study}).scalar_one()
            values = {"study": study, "after": after, "running": list(running), "waiting": list(waiting)}
            rows = connection.execute(statement("changed_trials"), values).mappings().all()
        return total, [_trial(dict(row)) for row in rows]

    def trial(self, study: str, number: int) -> TrialRecord | None:
        """Return one trial, if the control schema knows it."""
        rows = self._read("trial", study=study, number=number)
        return _trial(rows[0]) if rows else None

    def best(self, study: str, direction: str) -> TrialRecord | None:
        """Return the complete trial with the best score; of equal ones the first."""
        rows = self._read(f"best_{direction}", study=study)
        return _trial(rows[0]) if rows else None

    def surpassed(self, study: str, direction: str, most: int) -> set[int]:
        """Return the numbers of ended trials that stand for none of the best configurations, so many at most."""
        return {row["number"] for row in self._read(f"surpassed_{direction}", study=study, most=most)}

    def curves(self, study: str, key: str | None, value: object) -> list[Curve]:
        """Return the curves of the latest ended trials, repeats aside; with a key, of those with this value of it."""
        rows = self._read("curves", study=study, key=key, value=None if key is None else str(value))
        return [stored_curve(row["points"]) for row in rows]

    def last_to_end(self, study: str) -> str | None:
        """Return the worker that has ended the last trial; None where none has ended."""
        rows = self._read("last_to_end", study=study)
        return rows[0]["worker"] if rows else None

    def open_designs(self, study: str) -> list[str]:
        """Names of the forced configurations that have not ended."""
        return [row["design"] for row in self._read("open_designs", study=study)]

    def counts(self, study: str) -> Counts:
        """Count the trials of a study in the database."""
        return Counts(**self._read("counts", study=study)[0])

    def unpublished(self, study: str, number: int | None = None) -> list[TrialRecord]:
        """Return the ended trials whose end Optuna has not been told yet; of this number alone, if one is given."""
        return [_trial(row) for row in self._read("unpublished", study=study, number=number)]

    def mark_published(self, study: str, number: int, tell: Callable[[Connection], None]) -> bool:
        """Tell Optuna how the trial ended, in one transaction with remembering that it knows.

        Returns:
            Whether the dashboard's note says how the study stands.
        """
        with self.engine.begin() as connection:
            tell(connection)
            values = {"study": study, "number": number}
            return bool(connection.execute(statement("published"), values).scalar())

    def register(self, worker: WorkerRecord) -> None:
        """Add a worker; its first beat is this moment."""
        values = {name: getattr(worker, name) for name in ("id", "place", "host", "pid", "started")}
        with self.engine.begin() as connection:
            connection.execute(statement("register_worker"), values)

    def ask_to_leave(self, among: Sequence[str], count: int) -> int:
        """Ask some of these workers to leave after their trial, the idle first; return how many were asked."""
        with self.engine.begin() as connection:
            values = {"among": list(among), "count": count}
            return len(connection.execute(statement("ask_to_leave"), values).all())

    def raise_alert(self, host: str, message: str) -> None:
        """Tell people about something that needs them."""
        with self.engine.begin() as connection:
            connection.execute(statement("raise_alert"), {"host": host, "message": message})

    def recent_alerts(self) -> list[Alert]:
        """Return the alerts of the last day, the newest first."""
        return [Alert(**row) for row in self._read("recent_alerts")]

    def repeated_scores(self, study: str) -> list[tuple[Key, int, float]]:
        """Return configuration, seed and score of the complete trials of configurations that have several."""
        rows = self._read("repeated_scores", study=study)
        return [(tuple(sorted(row["params"].items())), row["seed"], row["score"]) for row in rows]

    def repeated_failures(self, study: str, at_least: int) -> list[RepeatedFailure]:
        """Return the reasons for which trials have ended badly that often."""
        rows = self._read("repeated_failures", study=study, at_least=at_least)
        return [RepeatedFailure(**row) for row in rows]

    def batch_swings(self, study: str) -> list[BatchSwing]:
        """Return how the metric of every complete trial differed from batch to batch, where that was recorded."""
        rows = self._read("batch_swings", study=study)
        return [BatchSwing(**{**row, "effective_batch": int(row["effective_batch"])}) for row in rows]

    def unregister(self, worker: str) -> None:
        """Say that the worker has left."""
        with self.engine.begin() as connection:
            connection.execute(statement("unregister_worker"), {"id": worker})

    def workers(self) -> list[WorkerRecord]:
        """Return the workers that have not left, dead ones included until they are reaped."""
        workers = []
        for row in self._read("workers"):
            study, number = row.pop("study"), row.pop("number")
            workers.append(WorkerRecord(**row, trial=(study, number) if study else None))
        return workers

    def holders(self, study: str) -> list[tuple[int, WorkerRecord]]:
        """Return number and worker of every running trial."""
        return [(row.pop("number"), WorkerRecord(**row)) for row in self._read("holders", study=study)]

    def pace(self, study: str) -> Pace:
        """Return how many trials have ended lately, and in what time."""
        return Pace(**self._read("pace", study=study)[0])

    def throughput(self, study: str, size_key: str) -> list[Throughput]:
        """Return how long ended trials of every size took."""
        return [Throughput(**row) for row in self._read("throughput", study=study, size_key=size_key)]

    def pending_sizes(self, study: str, size_key: str) -> dict[str, int]:
        """Count waiting and running trials by size."""
        return {row["size"]: row["pending"] for row in self._read("pending_sizes", study=study, size_key=size_key)}

    def elapsed_of_running(self, study: str, size_key: str) -> list[tuple[str, float]]:
        """Return size and seconds so far of every running trial."""
        rows = self._read("elapsed_of_running", study=study, size_key=size_key)
        return [(row["size"], row["elapsed"]) for row in rows]

    def _read(self, query: str, /, **values: object) -> list[dict[str, Any]]:
        with self._reading.connect() as connection:
            return [dict(row) for row in connection.execute(statement(query), values).mappings()]

    def _write(self, query: str, /, **values: object) -> bool:
        with self.engine.begin() as connection:
            return connection.execute(statement(query), values).first() is not None


def _insert_trial(connection: Connection, study: str, trial: TrialRecord, worker: str | None = None) -> bool:
    values = {
        "study": study,
        "number": trial.number,
        "slot": trial.slot,
        "turn": trial.turn,
        "attempt": trial.attempt,
        "origin": trial.origin,
        "design_id": trial.design_id,
        "seed": trial.seed,
        "params": json.dumps(trial.params),
        "attributes": json.dumps(trial.attributes),
        "state": TrialState.WAITING if worker is None else TrialState.RUNNING,
        "worker": worker,
    }
    return connection.execute(statement("insert_trial"), values).first() is not None


def _end_trial(
    connection: Connection,
    study: str,
    trial: TrialRecord,
    state: TrialState,
    cause: Cause | None,
    message: str,
    score: float | None,
    attributes: Mapping[str, Any],
) -> bool:
    values = {
        "study": study,
        "number": trial.number,
        "worker": trial.worker,
        "state": state,
        "cause": cause,
        "message": message,
        "score": score,
        "attributes": json.dumps(attributes),
    }
    return connection.execute(statement("end_trial"), values).first() is not None


def _trial(row: Mapping[str, Any]) -> TrialRecord:
    cause = Cause(row["cause"]) if row["cause"] else None
    return TrialRecord(**{**row, "origin": Origin(row["origin"]), "state": TrialState(row["state"]), "cause": cause})
