"""Hopeless trials end early: in real forks, by a real worker, on a real Postgres."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from pruning_objectives import STEPS, is_hopeless

from hpo import control_schema, embedded
from hpo.artifacts import checkpoint_directory
from hpo.claims import Claim
from hpo.control import Control
from hpo.fork_server import ForkServer
from hpo.phase1 import ensure_study
from hpo.records import Cause, Counts, Origin, Outcome, StudyRecord, TrialRecord, TrialState
from hpo.settings import load_settings
from hpo.stopping import StopSignals
from hpo.storage import open_storage
from hpo.trial import TrialLimits, TrialProcess
from hpo.trial_watch import TrialWatch
from hpo.worker import WorkerOptions, run_worker
from studies.declaration import Prepared, architecture_values
from studies.spec import Spec

HERE = Path(__file__).parent
CAP = 30
PRUNING = {"enabled": True, "tolerance": 0.03, "min_trials": 3, "warmup_steps": 4}


def make_spec(name: str, **values: object) -> Spec:
    given = {
        "name": name,
        "objective": "pruning_objectives:learn",
        "budgets": ["750k", "2M"],
        "trials": CAP,
        "seeds": 2,
        "early_stop": {"patience": 1000},
        "pruning": PRUNING,
        **values,
    }
    return Spec.model_validate(given)


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
        with ForkServer(("studies.objective", "hpo.trial")) as running:
            running.wait_until_ready()
            yield running


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hpo-", dir="/tmp"))
    yield folder
    embedded.release(folder)
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Search:
    """A study that a worker has brought to its end."""

    study: StudyRecord
    trials: list[TrialRecord]
    told: list[FrozenTrial]
    counts: Counts
    home: Path

    @property
    def pruned(self) -> list[TrialRecord]:
        return [trial for trial in self.trials if trial.state is TrialState.PRUNED]

    def within(self, budget: str) -> list[TrialRecord]:
        return [trial for trial in self.trials if trial.params["budget"] == budget]


def search(server: ForkServer, home: Path, spec: Spec) -> Search:
    settings = load_settings({"HPO_HOME": str(home)})
    with open_storage(settings) as storage:
        control_schema.migrate(storage.engine)
        ensure_study(storage, spec, Prepared(architecture_values(spec)))
        options = WorkerOptions(None, server.address, (spec.name,), prepared=True, until_done=True)
        run_worker(options, settings, StopSignals())
        control = Control(storage.engine)
        study = control.study(spec.name)
        assert study is not None
        told = optuna.load_study(study_name=spec.name, storage=storage.optuna).get_trials(deepcopy=False)
        return Search(study, control.trials(spec.name), told, control.counts(spec.name), home)


@pytest.fixture(scope="module")
def pruned_search(server: ForkServer, home: Path) -> Search:
    return search(server, home, make_spec("pruned"))


def test_only_hopeless_proposals_of_the_sampler_are_pruned_and_well_before_their_end(pruned_search: Search) -> None:
    assert len(pruned_search.pruned) >= 3
    for trial in pruned_search.pruned:
        assert trial.origin is Origin.SAMPLED
        assert is_hopeless(trial.params)
        assert trial.attributes["steps"] < STEPS
        assert (trial.cause, trial.score) == (Cause.PRUNED, None)
        assert trial.message.startswith("pruned at step ")
        assert trial.attributes["for_good"] is True


def test_every_forced_trial_and_every_repeat_runs_to_its_end_however_far_behind(pruned_search: Search) -> None:
    asked_for = [trial for trial in pruned_search.trials if trial.origin is not Origin.SAMPLED]
    assert Counter(trial.origin for trial in asked_for) == {Origin.FORCED: 11, Origin.REPEAT: 2}
    assert {trial.state for trial in asked_for} == {TrialState.COMPLETE}
    assert {trial.attributes["steps"] for trial in asked_for} == {STEPS}
    assert any(is_hopeless(trial.params) for trial in asked_for), "the highest learning rate is one of the forced"


def test_a_budget_that_is_behind_another_one_is_compared_with_itself(pruned_search: Search) -> None:
    good = [trial for trial in pruned_search.within("2M") if not is_hopeless(trial.params)]
    assert len(good) >= 8
    assert {trial.state for trial in good} == {TrialState.COMPLETE}
    best = max(trial.score or 0.0 for trial in good)
    assert best < 0.6 < max(trial.score or 0.0 for trial in pruned_search.within("750k")) - 0.1


def test_a_pruned_trial_uses_its_slot_and_is_not_tried_again(pruned_search: Search) -> None:
    counts = pruned_search.counts
    assert counts.used == CAP == len(pruned_search.trials)
    assert (counts.pruned, counts.failed, counts.replaced) == (len(pruned_search.pruned), 0, 0)
    assert {(trial.turn, trial.attempt) for trial in pruned_search.trials} == {(1, 1)}
    complete = CAP - counts.pruned
    assert pruned_search.study.reason == f"the cap of {CAP} trials is used: {complete} complete, {counts.pruned} pruned"
    assert pruned_search.study.evidence["pruned"] == counts.pruned


def test_optuna_has_it_as_pruned_with_its_values_and_the_joint_model_keeps_every_parameter(
    pruned_search: Search,
) -> None:
    for trial in pruned_search.pruned:
        told = pruned_search.told[trial.number]
        assert told.state is OptunaState.PRUNED
        assert len(told.intermediate_values) == trial.attributes["steps"]
        assert told.user_attrs["cause"] == "pruned"
        assert "best_so_far" not in told.user_attrs, "it would stand there twice"
        assert trial.attributes["best_so_far"][-1][0] == max(told.intermediate_values)
    joint = optuna.search_space.intersection_search_space(pruned_search.told)
    assert set(joint) == {"budget", "style", "dropout", "learning_rate", "weight_decay"}


def test_a_pruned_trial_leaves_no_checkpoint(pruned_search: Search) -> None:
    for trial in pruned_search.pruned:
        assert not checkpoint_directory(pruned_search.home, "pruned", trial.slot).exists()


def test_without_the_key_every_trial_runs_to_its_end_and_keeps_no_curve(server: ForkServer, home: Path) -> None:
    found = search(
        server, home, make_spec("whole", objective="pruning_objectives:asks_nobody", trials=13, seeds=1, pruning={})
    )
    assert {trial.state for trial in found.trials} == {TrialState.COMPLETE}
    assert all("best_so_far" not in trial.attributes for trial in found.trials)


def begin(server: ForkServer, home: Path, objective: str) -> TrialProcess:
    spec = make_spec("single", objective=f"pruning_objectives:{objective}")
    trial = TrialRecord(0, 1, 1, 1, Origin.SAMPLED, {}, 1, TrialState.RUNNING, worker="w")
    return TrialProcess(
        Claim("single", spec, trial, {}, {}, left=0), spec.objective, server.address, home, TrialLimits()
    )


def end(process: TrialProcess, word: str = "") -> tuple[Outcome, list[tuple[float, int]]]:
    looks: list[tuple[float, int]] = []

    def report(value: float, step: int) -> None:
        looks.append((value, step))
        if word:
            process.prune(word)

    for _ in range(100):
        if outcome := process.wait(0.2, report):
            return outcome, looks
    raise AssertionError("the trial has not ended")


def test_whatever_a_trial_returns_when_it_is_told_to_end_for_good_it_is_pruned(server: ForkServer, home: Path) -> None:
    outcome, _ = end(begin(server, home, "waits_for_word"), "hopeless by far")
    assert (outcome.cause, outcome.score, outcome.message) == (Cause.PRUNED, None, "hopeless by far")
    assert outcome.attributes["best_so_far"] == [[1, 0.25]]


def test_an_objective_that_never_asks_runs_to_its_score(server: ForkServer, home: Path) -> None:
    outcome, looks = end(begin(server, home, "asks_nobody"), "hopeless by far")
    assert (outcome.cause, outcome.score, len(looks)) == (None, 0.25, 20)


def test_a_trial_that_is_told_to_stop_before_it_is_hopeless_waits_again(server: ForkServer, home: Path) -> None:
    process = begin(server, home, "waits_for_word")
    process.ask_to_stop()
    assert end(process)[0].cause is Cause.INTERRUPTED


def test_a_score_that_becomes_nan_ends_the_trial_at_once_as_diverged(server: ForkServer, home: Path) -> None:
    outcome, looks = end(begin(server, home, "becomes_no_number"))
    assert (outcome.cause, outcome.message) == (Cause.DIVERGED, "the score became nan at step 2")
    assert outcome.attributes["trial_seconds"] < 30
    assert looks == [(0.5, 1)]


def test_the_word_is_given_once_and_for_the_trials_of_the_group_alone(pruned_search: Search) -> None:
    with open_storage(load_settings({"HPO_HOME": str(pruned_search.home)})) as storage:
        control = Control(storage.engine)
        hopeless = pruned_search.pruned[0]
        claim = Claim("pruned", make_spec("pruned"), hopeless, {}, {}, left=0)
        watch = TrialWatch(control, claim)
        said = [watch.look(0.01, step) for step in range(1, STEPS + 1)]
        assert [bool(word) for word in said] == [step == 5 for step in range(1, STEPS + 1)]
        forced = replace(hopeless, origin=Origin.FORCED)
        unwatched = TrialWatch(control, replace(claim, trial=forced))
        assert not any(unwatched.look(0.01, step) for step in range(1, STEPS + 1))
        within = {budget: len(control.curves("pruned", "budget", budget)) for budget in ("750k", "2M")}
        assert len(control.curves("pruned", None, None)) == sum(within.values()) == CAP - 2, "repeats aside"
        ended = [trial for trial in pruned_search.within("2M") if trial.origin is not Origin.REPEAT]
        assert within["2M"] == len(ended)
