"""`hpo report --final`: train the finalists again over fresh seeds, then read the test part, once a version of a study.

choose ──> train each with every seed ──> write down that the test part is read ──> read it ──> write what it said
  └── a stored result ends it here          └── whoever dies from here on reads the same again, and nothing else
"""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpo.advisory_lock import advisory_lock
from hpo.artifacts import forget_outcome
from hpo.claims import Claim
from hpo.errors import StorageError
from hpo.final_view import FinalView
from hpo.fleet_plan import one_if_safe
from hpo.fork_server import ForkFailedError, ForkServer, call
from hpo.launch_workers import PRELOAD_SERVICE, automatic, farewell
from hpo.machine import available_cores
from hpo.output import count
from hpo.preflight import check_limit_of_trials
from hpo.records import Outcome, StudyState, TrialRecord, TrialState
from hpo.report.finalists import (
    DEFAULT_SEEDS,
    DEFAULT_TOP_K,
    Finalist,
    FinalPlan,
    Retrained,
    Searched,
    choose,
    study_version,
)
from hpo.report.readings import FinalReading, begin_reading, end_reading, readings_before, stored_reading
from hpo.retraining import Pool, retrain, weights_of
from hpo.service import Service, open_existing
from hpo.settings import Settings
from hpo.stopping import StopSignals, obeying_signals
from studies.declaration import declare
from studies.trained import TrainedModel

# Holds the trainings of finalists, as a worker holds trials.
_HOLDER = "final"


@dataclass(frozen=True)
class FinalOptions:
    """What is asked for; None: as it was read, or else the default.

    Attributes:
        top_k: configurations.
        seeds: that each is trained with.
    """

    top_k: int | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Ended:
    """The result of the command.

    Attributes:
        reading: with its result.
        is_new: whether it was read now; otherwise it was stored.
        since: complete trials that the study has had since it was read.
    """

    reading: FinalReading
    is_new: bool
    since: int


def final(
    name: str,
    settings: Settings,
    storage_url: str | None,
    options: FinalOptions,
    workers: int | None,
    view: FinalView,
) -> Ended:
    """Read the test part of a study with its finalists, or return what it said when it was read.

    Raises:
        InputError: the study has not ended, has no test part or no complete trial, or another choice was read.
        ForkFailedError: no finalist could be trained, or weights were damaged; the test part was not read.
        KeyboardInterrupt: it was told to stop; the same command goes on where it was.
    """
    with open_existing(settings, storage_url, name) as service:
        searched = _searched(service, name)
        found = _stored(service, searched, options)
        if found is None:
            plan = _plan(searched, options, view)
        elif found.result is not None:
            return _ended(found, searched, is_new=False)
        with _alone(service, name, view):
            # Whoever was at work here may have read it by now.
            found = _stored(service, searched, options)
            if found is not None and found.result is not None:
                return _ended(found, searched, is_new=False)
            with _server(searched, view) as server:
                return _Final(service, server, searched, view).run(found.plan if found else plan, found, workers)


class _Final:
    def __init__(self, service: Service, server: ForkServer, searched: Sequence[Searched], view: FinalView) -> None:
        self._service, self._server, self._searched, self._view = service, server, searched, view
        self._home = service.settings.home
        self._sizes: dict[str, Any] = dict(searched[0].record.prepared.get("sizes", {}))

    def run(self, plan: FinalPlan, begun: FinalReading | None, workers: int | None) -> Ended:
        """Train and read; of a reading that somebody has begun, the same again."""
        check_limit_of_trials(self._service.settings, self._server)
        with self._view.working("looking at the data"):
            call(self._server.address, "hpo.final_reading:check", self._searched[0].spec, self._sizes, self._home)
        if begun is None:
            self._say_what_was_read_before()
        claims = self._claims(plan, begun)
        outcomes = self._train(plan, claims, workers)
        if begun is None:
            plan = replace(plan, retrained=tuple(map(_retrained, claims, outcomes, _ranks(plan, claims))))
        trained = [claim for claim, outcome in zip(claims, outcomes, strict=True) if outcome.score is not None]
        if not trained or (begun is not None and len(trained) < len(claims)):
            said = next((outcome.message for outcome in outcomes if outcome.score is None), "")
            raise ForkFailedError(
                f"{count(len(claims) - len(trained), 'finalist')} could not be trained again, and the test part is "
                f"not read: {said.strip().splitlines()[-1] if said.strip() else 'no reason is known'}"
            )
        with self._view.working("checking the weights"):
            models = [self._checked(claim, o) for claim, o in zip(claims, outcomes, strict=True) if o.score is not None]
        return self._read(plan, models)

    def _say_what_was_read_before(self) -> None:
        name = self._searched[0].record.name
        for study, when in readings_before(self._service.storage.engine, name, _version(self._searched)):
            self._view.notice(
                f"the test part of these prices was read before, by {study} at {when:%Y-%m-%d %H:%M} UTC: what it says "
                "now is optimistic, as far as that was seen by whoever searched on"
            )

    def _claims(self, plan: FinalPlan, begun: FinalReading | None) -> list[Claim]:
        """Return every finalist with every seed; of a reading that has begun, those that it was begun with."""
        known = None if begun is None else {(each.rank, each.seed) for each in begun.plan.read}
        return [
            self._claim(finalist, seed)
            for finalist in plan.finalists
            for seed in plan.seeds
            if known is None or (finalist.rank, seed) in known
        ]

    def _claim(self, finalist: Finalist, seed: int) -> Claim:
        origin = next(each for each in self._searched if each.record.name == finalist.study)
        place = f"{self._searched[0].record.name}/final/{_version(self._searched)[:12]}/{finalist.key}"
        trial = next(each for each in origin.trials if each.number == finalist.trial)
        begins = TrialRecord(
            number=seed,
            slot=seed,
            turn=1,
            attempt=1,
            origin=trial.origin,
            params=trial.params,
            seed=seed,
            state=TrialState.RUNNING,
            worker=_HOLDER,
            attributes=finalist.attributes,
        )
        # Whatever the study keeps of its trials, a finalist is nothing without its weights.
        spec = origin.spec.model_copy(update={"keep_weights": 1})
        return Claim(place, spec, begins, finalist.values, origin.record.prepared, left=0)

    def _train(self, plan: FinalPlan, claims: Sequence[Claim], workers: int | None) -> list[Outcome]:
        """Return how each training ended.

        Raises:
            KeyboardInterrupt: it was told to stop before all had.
        """
        settings, stop = self._service.settings, StopSignals()
        given = one_if_safe([each.spec for each in self._searched], workers)
        fitting = automatic(self._service, [each.record for each in self._searched]) if given is None else given
        size = max(1, min(fitting, len(claims)))
        pool = Pool(settings, self._server.address, size, max(1, available_cores() // size), stop)
        self._view.say(
            f"{self._searched[0].record.name}: {count(len(plan.finalists), 'configuration')} over "
            f"{count(len(plan.seeds), 'seed')}, then the test part; {count(size, 'worker')} with "
            f"{count(pool.threads, 'thread')} each"
        )
        names = [
            (next(each.label for each in plan.finalists if each.rank == rank), claim.trial.seed)
            for rank, claim in zip(_ranks(plan, claims), claims, strict=True)
        ]

        def obey() -> None:
            stop.terminate()
            self._view.say(farewell(stop, settings))

        with obeying_signals(obey), self._view.training(names, claims[0].spec.training.max_steps) as progress:
            outcomes = retrain(claims, pool, progress)
        ended = [outcome for outcome in outcomes if outcome is not None]
        if len(ended) < len(claims):
            raise KeyboardInterrupt(
                f"interrupted, and the test part is not read: {len(ended)} of {count(len(claims), 'training')} have "
                "ended, and the same command goes on with the others"
            )
        return ended

    def _checked(self, claim: Claim, outcome: Outcome) -> TrainedModel:
        """Return a model whose weights are what was scored: an answer of others could not be taken back."""
        model = TrainedModel(claim.spec, claim.params, claim.trial.seed, weights_of(self._home, claim))
        arguments = (model, outcome.score, self._sizes, self._home)
        wrong = call(self._server.address, "hpo.final_reading:fault", *arguments)
        if wrong:
            forget_outcome(self._home, claim.study, claim.trial.number)
            raise ForkFailedError(f"the weights in {model.weights} are not those that were trained ({wrong})")
        return model

    def _read(self, plan: FinalPlan, models: Sequence[TrainedModel]) -> Ended:
        """Read under a lock: of two that have trained, on two machines, the second finds what the first has read."""
        engine, name, version = self._service.storage.engine, self._searched[0].record.name, _version(self._searched)
        with (
            engine.connect() as connection,
            advisory_lock(connection, f"hpo final {name}"),
            self._view.working("reading the test part"),
        ):
            reading = begin_reading(engine, name, version, plan)
            is_new = reading.result is None
            if is_new:
                if _what_is_read(reading.plan) != _what_is_read(plan):
                    raise StorageError(
                        f"the test part of {name} is read by what was written down at {reading.read_at:%Y-%m-%d %H:%M} "
                        "UTC, not by another choice: the same command goes on with that"
                    )
                arguments = (reading.plan, models, self._sizes, self._home, available_cores())
                result = call(self._server.address, "hpo.final_reading:read", *arguments)
                end_reading(engine, reading, result)
                reading = replace(reading, result=result)
        return _ended(reading, self._searched, is_new=is_new)


def _searched(service: Service, name: str) -> list[Searched]:
    """Return the study and those that supplement it, with their trials."""
    study, control = service.find(name), service.control
    if study.parent is not None:
        raise StorageError(
            f"finalists are of a study of Phase 1 and its Phase 2 together, {name} is of Phase 2: name {study.parent}"
        )
    records = [study, *(service.find(child) for child in control.children(name))]
    return [Searched(record, tuple(control.trials(record.name))) for record in records]


def _version(searched: Sequence[Searched]) -> str:
    return study_version(searched[0].record, [each.record for each in searched[1:]])


def _stored(service: Service, searched: Sequence[Searched], options: FinalOptions) -> FinalReading | None:
    """Return the reading that is there; refuse to read another choice."""
    name = searched[0].record.name
    found = stored_reading(service.storage.engine, name, _version(searched))
    if found is None:
        return None
    asked = (("--top-k", options.top_k, found.plan.top_k), ("--final-seeds", options.seeds, len(found.plan.seeds)))
    for option, wanted, was in asked:
        if wanted is not None and wanted != was:
            raise StorageError(
                f"the test part of {name} was read at {found.read_at:%Y-%m-%d %H:%M} UTC with {option} {was}, and is "
                f"not read again with {wanted}: leave {option} out for what it said, or search on with "
                f"`hpo resume {name} --trials {searched[0].record.cap + 20}` for another reading"
            )
    return found


def _plan(searched: Sequence[Searched], options: FinalOptions, view: FinalView) -> FinalPlan:
    """Choose the finalists of a search that has ended.

    Raises:
        InputError: it has not, or there is nothing to choose from or to read.
    """
    name, spec = searched[0].record.name, searched[0].spec
    if not spec.uses_prices:
        raise StorageError(
            f"the test part is read of a study on prices, and {name} has the objective {spec.objective}, which brings "
            "its own data: score its best trials on data that it has not seen, by the same code"
        )
    for each in searched:
        _refuse_open(each)
    top_k, seeds = options.top_k or DEFAULT_TOP_K, options.seeds or DEFAULT_SEEDS
    plan = choose(searched, top_k, seeds)
    if not plan.finalists:
        raise StorageError(
            f"finalists are the best complete trials, and {name} has none: `hpo status {name} --failures` says why"
        )
    if len(plan.finalists) < top_k:
        view.notice(f"{name} has {count(len(plan.finalists), 'distinct configuration')}, fewer than --top-k {top_k}")
    return plan


def _refuse_open(searched: Searched) -> None:
    name, state = searched.record.name, searched.record.state
    running = sum(trial.state is TrialState.RUNNING for trial in searched.trials)
    if state is StudyState.RUNNING:
        raise StorageError(
            f"the test part is read when the search has ended, and {name} is running: let it end, or `hpo stop {name}`"
        )
    if running:
        raise StorageError(
            f"the test part is read when all trials have ended, and {count(running, 'trial')} of {name} "
            f"{'is' if running == 1 else 'are'} under way: wait until `hpo status {name}` shows none running"
        )


def _ended(reading: FinalReading, searched: Sequence[Searched], *, is_new: bool) -> Ended:
    complete = sum(trial.state is TrialState.COMPLETE for each in searched for trial in each.trials)
    return Ended(reading, is_new, complete - reading.plan.complete)


def _what_is_read(plan: FinalPlan) -> list[tuple[str, int]]:
    by_rank = {finalist.rank: finalist.key for finalist in plan.finalists}
    return [(by_rank[each.rank], each.seed) for each in plan.read]


def _ranks(plan: FinalPlan, claims: Sequence[Claim]) -> list[int]:
    by_key = {finalist.key: finalist.rank for finalist in plan.finalists}
    return [by_key[claim.study.rpartition("/")[2]] for claim in claims]


def _retrained(claim: Claim, outcome: Outcome, rank: int) -> Retrained:
    lines = outcome.message.strip().splitlines()
    why = "" if outcome.score is not None else f"{outcome.cause}: {lines[-1] if lines else 'no reason is known'}"
    return Retrained(rank, claim.trial.seed, outcome.score, why)


@contextmanager
def _alone(service: Service, name: str, view: FinalView) -> Iterator[None]:
    """Hold this machine's lock on a study's finalists: two that train into one folder would be in each other's way."""
    path: Path = service.settings.home / "artifacts" / name / "final" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with view.working(f"another command on this machine trains the finalists of {name}: waiting"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _server(searched: Sequence[Searched], view: FinalView) -> Iterator[ForkServer]:
    modules = [module for each in searched for module in declare(each.spec).preload]
    with ForkServer((*dict.fromkeys(modules), PRELOAD_SERVICE)) as server:
        with view.working("loading"):
            server.wait_until_ready()
        yield server
