"""Repeats over seeds on a real Postgres: within the cap, before the end is decided, and whatever fails."""

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import text

from hpo import control_schema, embedded
from hpo.claims import Claim, Claims
from hpo.control import Control
from hpo.monitor import read_status
from hpo.phase1 import ensure_study
from hpo.presence import is_dead, this_worker
from hpo.records import Cause, Origin, Outcome, StudyRecord, StudyState, TrialRecord, TrialState
from hpo.settings import load_settings
from hpo.storage import Storage, open_storage
from studies.declaration import Prepared, architecture_values, history, supplement
from studies.spec import Spec

CONVERGES = {"patience": 6, "threshold": 1.0, "top_k": 2}
NEVER = {"patience": 1000}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedServer]:
    with embedded.use(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def storage(server: embedded.EmbeddedServer) -> Iterator[Storage]:
    """A database of its own for every test."""
    database = f"test_{uuid.uuid4().hex}"
    with open_storage(load_settings({}), server.url) as maintenance, maintenance.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(f"CREATE DATABASE {database}"))
    with open_storage(load_settings({}), server.url.replace("/postgres?", f"/{database}?")) as opened:
        control_schema.migrate(opened.engine)
        yield opened


def make_spec(**values: object) -> Spec:
    given = {"name": "s", "objective": "objectives:score", "budgets": ["750k"], "trials": 8, "seeds": 3, **values}
    return Spec.model_validate(given)


def open_study(storage: Storage, spec: Spec, imported: list[dict[str, Any]] | None = None) -> tuple[Claims, Control]:
    study = ensure_study(storage, spec, Prepared(architecture_values(spec)), imported or [])
    return Claims(storage, study, lambda worker: is_dead(worker, 60), Path("/nonexistent")), Control(storage.engine)


def make(storage: Storage, **values: object) -> tuple[Claims, Control]:
    return open_study(storage, make_spec(**values))


def register(control: Control) -> str:
    worker = this_worker()
    control.register(worker)
    return worker.id


def score_of(trial: TrialRecord) -> float:
    """A score that the parameters decide, and the seed a little."""
    return 0.7 - abs(float(trial.params["dropout"]) - 0.3) + 0.001 * trial.seed


def work(claims: Claims, control: Control, score: Callable[[TrialRecord], float] = score_of) -> list[TrialRecord]:
    """Run trials one after the other until there is none; return them as they were taken."""
    worker, taken = register(control), []
    while (claim := claims.take(worker)) is not None:
        taken.append(claim.trial)
        assert claims.end(claim.trial, Outcome(None, score=score(claim.trial)))
    return taken


def ended(control: Control, name: str = "s") -> StudyRecord:
    study = control.study(name)
    assert study is not None
    return study


def take(claims: Claims, control: Control) -> Claim:
    claim = claims.take(register(control))
    assert claim is not None
    return claim


def roles(trials: list[TrialRecord]) -> list[str]:
    return [trial.attributes.get("repeat_role", trial.origin.value) for trial in trials]


def test_the_reference_comes_after_the_forced_trials_and_the_incumbent_into_the_last_slots(storage: Storage) -> None:
    claims, control = make(storage, early_stop=NEVER)
    taken = work(claims, control)
    assert roles(taken) == [*["forced"] * 2, *["reference"] * 2, *["sampled"] * 2, *["incumbent"] * 2]
    search = [trial for trial in taken if trial.origin is not Origin.REPEAT]
    best = max(search, key=score_of)
    # The deep form of 750k is the cheaper one.
    assert [(each.params, each.seed) for each in taken[2:4]] == [(taken[1].params, 2), (taken[1].params, 3)]
    assert [(each.params, each.seed) for each in taken[-2:]] == [(best.params, 2), (best.params, 3)]
    study = ended(control)
    assert (study.state, study.reason) == (StudyState.FINISHED, "the cap of 8 trials is used: 8 complete")
    assert study.evidence["seed_noise"] == pytest.approx(0.001)
    assert study.evidence["seeds"] == {"configurations": 2, "degrees_of_freedom": 4}
    assert study.evidence["incumbent"]["trial"] == best.number
    assert study.evidence["incumbent"]["leads"] is True
    found = read_status(control, study, "budget", 60).as_json()
    assert found["noise"] == {
        "standard_deviation": pytest.approx(0.001),
        "degrees_of_freedom": 4,
        "configurations": 2,
        "duplicates": 0,
    }
    assert (found["best"]["seeds"], found["best"]["mean"]) == (3, pytest.approx(found["best"]["score"] - 0.001))


def test_the_dashboard_sees_a_repeat_what_it_repeats_and_with_which_seed(storage: Storage) -> None:
    claims, control = make(storage, early_stop=NEVER)
    work(claims, control)
    trials = optuna.load_study(study_name="s", storage=storage.optuna).trials
    repeats = [trial for trial in trials if trial.user_attrs["origin"] == "repeat"]
    assert [each.user_attrs["seed"] for each in repeats] == [2, 3, 2, 3]
    for each in repeats:
        assert each.params == trials[each.user_attrs["repeat_of"]].params
        assert each.user_attrs["design"] == f"repeat of trial {each.user_attrs['repeat_of']}"
        assert {"d_model", "estimated_params"} <= each.user_attrs.keys()
        assert "design_id" not in each.user_attrs


def test_repeats_run_before_a_convergence_is_decided_and_are_no_evidence_of_search(storage: Storage) -> None:
    claims, control = make(storage, trials=30, early_stop=CONVERGES)
    taken = work(claims, control)
    assert roles(taken) == [*["forced"] * 2, *["reference"] * 2, *["sampled"] * 4, *["incumbent"] * 2]
    study = ended(control)
    assert study.state is StudyState.CONVERGED
    assert study.evidence["count"] == 6
    assert study.evidence["seed_noise"] == pytest.approx(0.001)
    assert study.evidence["incumbent"]["scores"] == pytest.approx([score_of(taken[-2]) + 0.001 * n for n in (-1, 0, 1)])


def test_a_convergence_that_the_repeats_undo_lets_the_search_go_on(storage: Storage) -> None:
    claims, control = make(storage, trials=14, early_stop={"patience": 4, "threshold": 0.05, "top_k": 4})
    # All alike until the best is repeated, and then one far above the others.
    taken = work(claims, control, lambda trial: 0.9 if trial.attributes.get("repeat_role") == "incumbent" else 0.5)
    first = roles(taken).index("incumbent")
    assert roles(taken)[first : first + 3] == ["incumbent", "incumbent", "sampled"]
    assert ended(control).state is StudyState.FINISHED
    assert roles(taken).count("incumbent") == 2, "the same one leads to the end and has its seeds"


@pytest.mark.parametrize("early_stop", [NEVER, CONVERGES])
def test_four_workers_at_once_keep_the_cap_and_repeat_each_seed_once(
    storage: Storage, early_stop: Mapping[str, object]
) -> None:
    spec = make_spec(trials=14, early_stop=early_stop)
    _, control = open_study(storage, spec)
    failures: list[BaseException] = []

    def live() -> None:
        try:
            claims, own = open_study(storage, spec)
            worker = register(own)
            while ended(own).state is StudyState.RUNNING:
                if (claim := claims.take(worker)) is not None:
                    claims.end(claim.trial, Outcome(None, score=score_of(claim.trial)))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=live) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    trials, study = control.trials("s"), ended(control)
    assert len(trials) <= 14
    assert study.state is (StudyState.FINISHED if early_stop == NEVER else StudyState.CONVERGED)
    assert len(trials) == 14 or study.state is StudyState.CONVERGED
    by_role = Counter(trial.attributes.get("repeat_role") for trial in trials)
    assert (by_role["reference"], by_role["incumbent"]) == (2, 2)
    assert len({(trial.key, trial.seed) for trial in trials}) == len(trials)
    leading = max(trials, key=lambda trial: trial.score or 0.0)
    assert {trial.seed for trial in trials if trial.key == leading.key} == {1, 2, 3}


def test_a_worker_without_a_repeat_waits_for_what_runs_and_then_gets_it(storage: Storage) -> None:
    claims, control = make(storage, trials=30, early_stop=CONVERGES, seeds=2)
    worker = register(control)
    for _ in range(7):
        trial = take(claims, control).trial
        if trial.number < 6:
            claims.end(trial, Outcome(None, score=score_of(trial)))
    running = take(claims, control).trial
    claims.end(trial, Outcome(None, score=score_of(trial)))
    assert claims.take(worker) is None
    assert ended(control).state is StudyState.RUNNING
    claims.end(running, Outcome(None, score=0.99))
    repeat = claims.take(worker)
    assert repeat is not None
    assert (repeat.trial.params, repeat.trial.seed) == (running.params, 2)


def test_a_repeat_that_fails_runs_again_with_its_seed_and_one_that_fails_for_good_holds_nothing_up(
    storage: Storage,
) -> None:
    claims, control = make(storage, trials=30, early_stop=CONVERGES, max_attempts=2)
    worker, repeats = register(control), []
    while (claim := claims.take(worker)) is not None:
        trial = claim.trial
        if trial.origin is Origin.REPEAT:
            repeats.append((trial.attributes["repeat_role"], trial.seed, trial.attempt))
            claims.end(trial, Outcome(Cause.FAILED, message="boom"))
        else:
            claims.end(trial, Outcome(None, score=score_of(trial)))
    expected = [(role, seed, attempt) for role in ("reference", "incumbent") for seed in (2, 3) for attempt in (1, 2)]
    assert repeats == expected
    study = ended(control)
    assert study.state is StudyState.CONVERGED
    assert "seed_noise" not in study.evidence
    failed = [trial for trial in control.trials("s") if trial.state is TrialState.FAILED]
    assert [trial.attributes["design"] for trial in failed] == ["repeat of trial 1"] * 2 + [
        f"repeat of trial {failed[-1].attributes['repeat_of']}"
    ] * 2


def test_a_repeat_whose_worker_died_before_it_was_written_down_is_not_lost_and_not_doubled(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, control = make(storage, early_stop=NEVER)
    worker = register(control)
    for _ in range(2):
        trial = take(claims, control).trial
        claims.end(trial, Outcome(None, score=score_of(trial)))

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for statement in ("hpo.mirror.Mirror.begin", "hpo.control._insert_trial"):
        with monkeypatch.context() as patched:
            patched.setattr(statement, die)
            with pytest.raises(KeyboardInterrupt):
                claims.take(worker)
    work(claims, control)
    trials = control.trials("s")
    used = [trial for trial in trials if trial.uses_slot]
    assert len(used) == 8
    assert Counter(roles(used)) == {"forced": 2, "reference": 2, "sampled": 2, "incumbent": 2}
    assert len({(trial.key, trial.seed) for trial in used}) == 8


def test_a_study_that_is_resumed_with_a_higher_cap_repeats_whoever_leads_then(storage: Storage) -> None:
    claims, control = make(storage, early_stop=NEVER)
    work(claims, control)
    study = ended(control)
    control.resume(replace(study, cap=11, spec={**study.spec, "trials": 11}), "resumed")
    claims, _ = open_study(storage, Spec.model_validate({**study.spec, "trials": 11}))
    # The first of the new ones beats everything.
    taken = work(claims, control, lambda trial: 0.9 if trial.slot == 9 else score_of(trial))
    assert roles(taken) == ["sampled", "incumbent", "incumbent"]
    assert {trial.attributes["repeat_of"] for trial in taken[-2:]} == {taken[0].number}
    assert (len(control.trials("s")), ended(control).evidence["incumbent"]["trial"]) == (11, taken[0].number)


def test_without_seeds_nothing_is_repeated_and_nothing_is_said_of_noise(storage: Storage) -> None:
    claims, control = make(storage, seeds=1, early_stop=NEVER)
    assert Counter(roles(work(claims, control))) == {"forced": 2, "sampled": 6}
    study = ended(control)
    assert study.evidence == {"complete": 8, "failed": 0, "cap": 8}
    assert read_status(control, study, "budget", 60).as_json()["noise"] is None


def test_phase_2_repeats_its_best_alone_with_seeds_that_phase_1_has_not_given_it(storage: Storage) -> None:
    claims, control = make(storage, early_stop=NEVER)
    work(claims, control)
    complete = control.trials("s")
    first = Spec.model_validate(ended(control).spec)
    spec = supplement(first, "750k", max(complete, key=lambda trial: trial.score or 0.0), 12)
    supplementary, _ = open_study(storage, spec, history(first, spec, complete))
    taken = work(supplementary, control, lambda trial: 0.9 if trial.attributes.get("design") == "n_heads=1" else 0.5)
    assert Counter(roles(taken)) == {"forced": 8, "sampled": 2, "incumbent": 2}
    corner = next(trial for trial in taken if trial.design_id == "n_heads=1")
    assert [trial.params for trial in taken[-2:]] == [corner.params] * 2
    assert len({trial.seed for trial in (corner, *taken[-2:])}) == 3
