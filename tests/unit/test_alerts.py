"""What a person is told of, and what not."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from hpo.alerts import AlertKind, Facts, find_alerts
from hpo.records import Alert, Counts, RepeatedFailure, StudyRecord, StudyState, WorkerRecord
from studies.sections import AlertSpec

STUDY = StudyRecord("s", 1, {}, "", {}, 20, StudyState.RUNNING, "", {}, convergence_off=False)
VITALS = {
    "memory_mb": 100.0,
    "trial_memory_mb": 900.0,
    "memory_after": [50.0] * 10,
    "machine_memory_mb": 8000,
    "disk_free": 0.5,
    "gpus": [{"name": "A100", "used_mb": 8000, "total_mb": 10000}],
}
WORKER = WorkerRecord("w1", "here", "box", 1, 0.0, silent_seconds=2.0, trial=("s", 3), vitals=VITALS)
COUNTS = Counts(complete=5, running=1, waiting=0, pruned=0, failed=0, replaced=0, cap=20)
CALM = Facts(
    study=STUDY,
    thresholds=AlertSpec(),
    counts=COUNTS,
    best=None,
    trials_per_hour=30.0,
    running_seconds=7200.0,
    workers=(WORKER,),
    living=(WORKER,),
    attended=True,
    failures=(),
    raised=(),
    lost_after_seconds=60.0,
)


def with_workers(*workers: WorkerRecord) -> Facts:
    return replace(CALM, workers=workers, living=workers)


def with_vitals(**vitals: Any) -> Facts:
    return with_workers(replace(WORKER, vitals={**VITALS, **vitals}))


def test_a_healthy_study_alerts_of_nothing() -> None:
    assert find_alerts(CALM) == ()


CASES = [
    (with_vitals(gpus=[{"name": "A100", "used_mb": 8600, "total_mb": 10000}]), "GPU 0 of box (A100) has 86 %"),
    (with_vitals(trial_memory_mb=7950.0), "worker w1 and its trial take 8,050 MiB, over the limit of 8,000"),
    (replace(CALM, thresholds=AlertSpec(worker_memory_mb=900)), "over the limit of 900"),
    (with_vitals(memory_after=[50.0] * 5 + [80.0] * 5), "worker w1 grows trial over trial: 50 MiB"),
    (with_vitals(memory_after=[50.0] * 5 + [80.0] * 5, trials_ended=40), "80 MiB after 40 trials"),
    (with_vitals(disk_free=0.049), "the disk of HPO_HOME on box has 4.9% left"),
    (replace(CALM, thresholds=AlertSpec(trials_per_hour=40)), "30 trials an hour, under the floor of 40"),
    (with_workers(replace(WORKER, silent_seconds=31.0)), "worker w1 has not beaten for 31 s; after 60 s any worker"),
    (with_workers(replace(WORKER, silent_seconds=31.0, trial=None)), "has not beaten for 31 s; it is idle"),
    (
        replace(CALM, workers=(replace(WORKER, silent_seconds=500.0),), living=()),
        "worker w1 has not beaten for 500 s; after 60 s any worker",
    ),
    (replace(CALM, workers=(), living=(), attended=False), "no worker: `hpo worker --study s`"),
    (replace(CALM, thresholds=AlertSpec(trials_per_hour=1), trials_per_hour=None), "0 trials an hour, under the floor"),
    (
        replace(CALM, failures=(RepeatedFailure("out_of_memory", "out of memory: 9 GiB", 3, 9),)),
        "3 trials ended as out_of_memory, the latest: out of memory: 9 GiB",
    ),
    (
        replace(CALM, failures=(RepeatedFailure("failed", "ValueError: boom", 4, 9),)),
        "4 trials ended as failed, for one reason: ValueError: boom",
    ),
    (replace(CALM, counts=replace(COUNTS, failed=2)), "failed for good: 2; `hpo status s --failures`"),
    (
        replace(CALM, raised=(Alert("box", "worker-1 died 6 times", datetime(2026, 1, 1, tzinfo=UTC), 2),)),
        "box: worker-1 died 6 times (2 times)",
    ),
]


@pytest.mark.parametrize(("facts", "said"), CASES, ids=[said for _, said in CASES])
def test_each_rule_says_what_is_wrong(facts: Facts, said: str) -> None:
    (alert,) = find_alerts(facts)
    assert said.replace(" %", "%") in alert.text.replace(" %", "%")
    assert "\n" not in alert.text


def test_an_equal_share_of_the_memory_is_the_default_limit() -> None:
    nine = tuple(replace(WORKER, id=f"w{number}") for number in range(9))
    assert [alert.kind for alert in find_alerts(with_workers(*nine))] == [AlertKind.WORKER_MEMORY] * 9
    assert find_alerts(with_workers(*nine[:8])) == ()


def test_a_throughput_under_the_floor_concerns_nobody_when_the_study_has_ended() -> None:
    ended = replace(STUDY, state=StudyState.FINISHED)
    assert find_alerts(replace(CALM, study=ended, thresholds=AlertSpec(trials_per_hour=40))) == ()


def test_a_few_mib_are_no_leak() -> None:
    assert find_alerts(with_vitals(memory_after=[10.0] * 5 + [25.0] * 5)) == ()


def test_workers_of_other_studies_share_the_machine_and_dead_ones_do_not() -> None:
    eight = tuple(replace(WORKER, id=f"other{number}", trial=("other", number)) for number in range(8))
    crowded = replace(CALM, living=(WORKER, *eight))
    assert [alert.kind for alert in find_alerts(crowded)] == [AlertKind.WORKER_MEMORY]
    dead = tuple(replace(worker, silent_seconds=900.0, trial=None) for worker in eight)
    assert find_alerts(replace(CALM, workers=(WORKER, *dead))) == ()


def test_what_a_dead_worker_saw_an_hour_ago_raises_no_alarm_and_hides_none() -> None:
    full = {**VITALS, "gpus": [{"name": "A100", "used_mb": 9900, "total_mb": 10000}], "disk_free": 0.01}
    dead = replace(WORKER, id="dead", trial=None, silent_seconds=900.0, vitals=full)
    assert find_alerts(replace(CALM, workers=(dead, WORKER))) == ()
    dead, now = replace(dead, vitals=VITALS), replace(WORKER, vitals=full)
    found = find_alerts(replace(CALM, workers=(dead, now), living=(now,)))
    assert [alert.kind for alert in found] == [AlertKind.GPU_MEMORY, AlertKind.DISK]


def test_the_newest_beat_of_a_machine_counts_whichever_worker_it_is_from() -> None:
    full = {**VITALS, "disk_free": 0.01}
    newer = replace(WORKER, id="w2", trial=("other", 1), silent_seconds=0.5, vitals=full)
    assert [alert.kind for alert in find_alerts(replace(CALM, living=(WORKER, newer)))] == [AlertKind.DISK]
    assert find_alerts(replace(CALM, living=(replace(WORKER, silent_seconds=0.1), newer))) == ()


def test_a_rate_that_is_not_known_yet_is_no_low_one_in_the_first_hour() -> None:
    young = replace(CALM, thresholds=AlertSpec(trials_per_hour=1), trials_per_hour=None, running_seconds=3599.0)
    assert find_alerts(young) == ()


def test_a_study_that_has_ended_needs_no_worker() -> None:
    ended = replace(CALM, study=replace(STUDY, state=StudyState.FINISHED), workers=(), living=(), attended=False)
    assert find_alerts(ended) == ()
    all_ended = replace(CALM, counts=replace(COUNTS, complete=20, running=0), workers=(), living=(), attended=False)
    assert find_alerts(all_ended) == ()
