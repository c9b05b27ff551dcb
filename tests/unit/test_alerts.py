"""What a person is told of, and what not."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from hpo.alerts import Facts, find_alerts
from hpo.records import Alert, Counts, RepeatedFailure, StudyRecord, StudyState, WorkerRecord
from studies.spec import AlertSpec

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
CALM = Facts(STUDY, AlertSpec(), COUNTS, None, 30.0, (WORKER,), (), (), 60.0)


def with_vitals(**vitals: Any) -> Facts:
    return replace(CALM, workers=(replace(WORKER, vitals={**VITALS, **vitals}),))


def test_a_healthy_study_alerts_of_nothing() -> None:
    assert find_alerts(CALM) == ()


CASES = [
    (with_vitals(gpus=[{"name": "A100", "used_mb": 8600, "total_mb": 10000}]), "GPU 0 of box (A100) has 86 %"),
    (with_vitals(trial_memory_mb=7950.0), "worker w1 and its trial take 8,050 MiB, over the limit of 8,000"),
    (replace(CALM, thresholds=AlertSpec(worker_memory_mb=900)), "over the limit of 900"),
    (with_vitals(memory_after=[50.0] * 5 + [80.0] * 5), "worker w1 grows trial over trial: 50 MiB"),
    (with_vitals(disk_free=0.049), "the disk of HPO_HOME on box has 4.9% left"),
    (replace(CALM, thresholds=AlertSpec(trials_per_hour=40)), "30 trials an hour, under the floor of 40"),
    (replace(CALM, workers=(replace(WORKER, silent_seconds=31.0),)), "worker w1 has not beaten for 31 s"),
    (
        replace(CALM, failures=(RepeatedFailure("failed", "ValueError: boom", 4, 9),)),
        "4 trials ended as failed for one reason: ValueError: boom",
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
    assert said.replace(" %", "%") in alert.replace(" %", "%")


def test_an_equal_share_of_the_memory_is_the_default_limit() -> None:
    nine = tuple(replace(WORKER, id=f"w{number}") for number in range(9))
    assert len(find_alerts(replace(CALM, workers=nine))) == 9
    assert find_alerts(replace(CALM, workers=nine[:8])) == ()


def test_a_throughput_under_the_floor_concerns_nobody_when_the_study_has_ended() -> None:
    ended = replace(STUDY, state=StudyState.FINISHED)
    assert find_alerts(replace(CALM, study=ended, thresholds=AlertSpec(trials_per_hour=40))) == ()


def test_a_few_mib_are_no_leak() -> None:
    assert find_alerts(with_vitals(memory_after=[10.0] * 5 + [25.0] * 5)) == ()
