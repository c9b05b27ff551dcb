"""Batch plans: the arithmetic of them, and the sources behind it."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from budgets import (
    BatchPlan,
    BudgetError,
    MemoryLimit,
    MetricKind,
    PpoChoices,
    PpoPlan,
    format_budget,
    largest_micro_batch,
    metric_kind,
    minimum_effective_batch,
    plan_batch,
    recommended_effective_batch,
)
from budgets.batch_rules import RATIO_TABLE, SHARPE_SPREADS, square_root_batch, square_root_batch_as_written
from budgets.metric_kinds import METRIC_KINDS
from budgets.rollouts import PPO_TABLE, plan_ppo

DOCUMENT = (Path(__file__).parents[2] / "docs" / "batching.md").read_text()

counts = st.integers(1, 400)
parameters = st.integers(1, 10**11)
metrics = st.sampled_from(sorted(METRIC_KINDS))


@st.composite
def plans(draw: st.DrawFn) -> BatchPlan:
    micro, accumulation, world_size = draw(counts), draw(counts), draw(st.integers(1, 16))
    return BatchPlan(micro * accumulation * world_size, micro, world_size)


@given(plans())
def test_the_parts_of_a_plan_make_the_whole(plan: BatchPlan) -> None:
    assert plan.micro * plan.accumulation * plan.world_size == plan.effective


@given(plans())
def test_halving_keeps_the_effective_batch_and_ends_at_one(plan: BatchPlan) -> None:
    for _ in range(plan.micro.bit_length() - 1):
        smaller = plan.halved()
        if smaller is None:
            break
        assert (smaller.effective, smaller.world_size) == (plan.effective, plan.world_size)
        assert smaller.micro * smaller.accumulation * smaller.world_size == plan.effective
        # The nearest: nothing between it and half of the old one divides.
        between = range(smaller.micro + 1, plan.micro // 2 + 1)
        assert 1 <= smaller.micro <= plan.micro // 2
        assert not [each for each in between if plan.share % each == 0]
        plan = smaller
    assert plan.micro == 1
    assert plan.halved() is None


@pytest.mark.parametrize(
    ("effective", "micro", "world_size", "micros"),
    [(12, 6, 1, [3, 1]), (64, 64, 1, [32, 16, 8, 4, 2, 1]), (30, 5, 2, [1]), (90, 45, 2, [15, 5, 1]), (7, 7, 1, [1])],
)
def test_a_micro_batch_is_halved_to_the_next_lower_divisor(
    effective: int, micro: int, world_size: int, micros: list[int]
) -> None:
    plan, seen = BatchPlan(effective, micro, world_size).halved(), []
    while plan is not None:
        seen.append(plan.micro)
        plan = plan.halved()
    assert seen == micros


def test_half_the_micro_batch_is_twice_the_accumulation() -> None:
    smaller = BatchPlan(8192, 32, 2).halved()
    assert smaller is not None
    assert (smaller.micro, smaller.accumulation) == (16, 2 * BatchPlan(8192, 32, 2).accumulation)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((2048, 48, 1), "48 does not divide 2048: take 32 or 64"),
        ((64, 100, 1), "100 does not divide 64: take 64"),
        ((1000, 10, 3), "1000 is not one of 3: take 999 or 1002"),
        ((2, 1, 3), "2 is not one of 3: take 3"),
        ((0, 1, 1), "effective batch is a whole number from 1"),
        ((64, 0, 1), "micro batch is a whole number from 1"),
        ((64, 8, -1), "world size is a whole number from 1"),
        ((10**18, 1, 1), "to 1,000,000,000, not 1000000000000000000"),
    ],
)
def test_what_does_not_divide_is_refused_with_the_nearest(sizes: tuple[int, int, int], said: str) -> None:
    with pytest.raises(BudgetError, match=re.escape(said)):
        BatchPlan(*sizes)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sharpe", MetricKind.RATIO),
        ("Information Ratio", MetricKind.RATIO),
        ("auc", MetricKind.RANKING),
        ("log-loss", MetricKind.LIKELIHOOD),
        ("RMSE", MetricKind.REGRESSION),
        ("score", MetricKind.OTHER),
    ],
)
def test_a_metric_has_a_kind(name: str, kind: MetricKind) -> None:
    assert metric_kind(name) is kind


@pytest.mark.parametrize(("name", "remedy"), [("sharp", "did you mean sharpe?"), ("zzz", "`score` stands for")])
def test_an_unknown_metric_is_refused_with_the_closest(name: str, remedy: str) -> None:
    with pytest.raises(BudgetError, match=re.escape(remedy)):
        metric_kind(name)


@pytest.mark.parametrize(
    ("size", "minimum"),
    [(1, 1024), (9_999_999, 1024), (10_000_000, 2048), (49_999_999, 2048), (50_000_000, 4096), (20 * 10**9, 4096)],
)
def test_a_ratio_has_the_minimum_of_the_table(size: int, minimum: int) -> None:
    assert minimum_effective_batch(size, "sharpe") == minimum


def test_the_square_root_is_that_of_the_worked_examples_and_the_rule_as_written_ten_times_it() -> None:
    assert [square_root_batch(size) for size in (5_600_000, 20_000_000)] == [2366, 4472]
    assert [square_root_batch_as_written(size) for size in (5_600_000, 20_000_000)] == [23_664, 44_721]
    assert [recommended_effective_batch(size, "sharpe") for size in (5_600_000, 20_000_000)] == [4096, 8192]


@example(2**20 + 1, 2**20 + 1, "calmar")
@given(parameters, parameters, metrics)
@example(1024**2 + 1, 1024**2 + 1, "calmar")
def test_the_recommendation_grows_with_the_model_and_satisfies_every_rule(one: int, other: int, metric: str) -> None:
    small, large = sorted((one, other))
    recommended = recommended_effective_batch(small, metric)
    assert recommended <= recommended_effective_batch(large, metric)
    assert recommended >= minimum_effective_batch(small, metric)
    if metric_kind(metric) is MetricKind.RATIO:
        # The root is rounded down, as in the examples of the source.
        assert recommended >= math.isqrt(small)
        assert recommended & (recommended - 1) == 0
        assert recommended == 1024 or recommended < 2 * max(minimum_effective_batch(small, metric), math.sqrt(small))
    else:
        assert recommended == 64


@pytest.mark.parametrize("call", [minimum_effective_batch, recommended_effective_batch])
def test_no_parameters_are_no_model(call: object) -> None:
    with pytest.raises(BudgetError, match="positive number of parameters, not 0"):
        call(0, "sharpe")  # type: ignore[operator]


@given(st.integers(1, 64), st.integers(1, 300), st.integers(0, 10**6), st.integers(1, 10**4), st.integers(0, 10**6))
def test_the_micro_batch_is_the_largest_divisor_that_fits(
    world_size: int, share: int, fixed: int, window: int, limit: int
) -> None:
    found = largest_micro_batch(share * world_size, world_size, fixed, window, limit)
    fitting = [each for each in range(1, share + 1) if share % each == 0 and fixed + each * window <= limit]
    assert found == (max(fitting) if fitting else None)


@pytest.mark.parametrize(("fixed", "window", "limit"), [(-1, 1, 1), (0, 0, 1), (0, 1, -1)])
def test_memory_is_counted_in_bytes(fixed: int, window: int, limit: int) -> None:
    with pytest.raises(BudgetError, match="memory is counted in bytes"):
        largest_micro_batch(64, 1, fixed, window, limit)


@given(parameters, metrics, st.integers(1, 12), st.booleans())
def test_a_plan_left_open_is_valid_and_has_no_errors(
    size: int,
    metric: str,
    world_size: int,
    with_ppo: bool,
) -> None:
    planned = plan_batch(size, metric, world_size=world_size, ppo=PpoChoices() if with_ppo else None)
    assert [finding for finding in planned.findings if finding.level != "note"] == []
    assert planned.batch.effective >= minimum_effective_batch(size, metric)
    if planned.ppo is not None:
        assert planned.ppo.batch * world_size == planned.batch.effective
        assert planned.ppo.chunks * planned.ppo.chunk == planned.ppo.rollouts


def test_the_micro_batch_falls_as_the_model_grows() -> None:
    sizes = (20_000_000, 125_000_000, 10**9, 6 * 10**9, 20 * 10**9)
    planned = [plan_batch(size, "sharpe").batch for size in sizes]
    assert [plan.micro for plan in planned] == [32, 32, 8, 4, 1]
    assert [plan.effective for plan in planned] == [8192, 16384, 32768, 131072, 262144]


def test_the_batch_of_the_failed_experiment_is_an_error_and_that_of_its_best_run_a_warning() -> None:
    failed = plan_batch(20_000_000, "sharpe", effective=256)
    (error,) = failed.errors
    assert "at least 2048" in error.said
    assert "256" in error.said
    assert "take 8192" in error.said
    best = plan_batch(5_600_000, "sharpe", effective=1024, micro=1024)
    assert [(finding.level, "2366" in finding.said) for finding in best.findings] == [("warning", True)]
    assert plan_batch(20_000_000, "auc", effective=1).findings == ()


def test_a_ratio_taken_in_parts_says_that_it_does_not_accumulate() -> None:
    def levels(micro: int, world_size: int) -> list[str]:
        found = plan_batch(20_000_000, "sharpe", effective=8192, micro=micro, world_size=world_size).findings
        return [finding.level for finding in found]

    assert levels(8192, 1) == []
    assert levels(4096, 1) == ["note"]
    assert levels(4096, 2) == ["note"]


def test_memory_decides_the_micro_batch_and_says_what_does_not_fit() -> None:
    memory = MemoryLimit(fixed_bytes=1000, bytes_a_window=10, limit_bytes=1130)
    assert plan_batch(20_000_000, "auc", effective=64, memory=memory).batch.micro == 8
    assert plan_batch(20_000_000, "auc", effective=64, micro=4, memory=memory).batch.micro == 4
    with pytest.raises(BudgetError, match=r"16 x 10 \+ 1,000 bytes is over 1,130: take 8"):
        plan_batch(20_000_000, "auc", effective=64, micro=16, memory=memory)
    with pytest.raises(BudgetError, match="take a smaller model"):
        plan_batch(20_000_000, "auc", memory=MemoryLimit(1000, 10, 1009))


def test_every_number_of_a_plan_has_its_rule_and_source() -> None:
    planned = plan_batch(10**9, "sharpe", world_size=4, ppo=PpoChoices(epochs=3))
    assert all(rule.rule and rule.source for rule in planned.rules)
    played = planned.ppo
    assert played is not None
    values = [rule.value for rule in planned.rules]
    assert values == [
        *(4096, 31_622, 316_227),
        *(planned.batch.effective, planned.batch.micro, planned.batch.accumulation),
        *(played.rollouts, played.chunk, played.epochs, played.optimizer_steps),
    ]


@pytest.mark.parametrize(
    ("size", "plan", "steps"),
    [
        (2_000_000, PpoPlan(128, 16, 32, 4), 16),
        (125_000_000, PpoPlan(128, 16, 32, 4), 16),
        (125_000_001, PpoPlan(64, 16, 8, 4), 32),
        (10**9, PpoPlan(64, 16, 8, 4), 32),
        (6 * 10**9, PpoPlan(64, 16, 4, 4), 64),
        (20 * 10**9, PpoPlan(16, 4, 1, 2), 32),
        (70 * 10**9, PpoPlan(16, 4, 1, 2), 32),
    ],
)
def test_ppo_follows_the_table_by_size(size: int, plan: PpoPlan, steps: int) -> None:
    assert plan_ppo(size) == plan
    assert plan.optimizer_steps == steps
    assert plan_batch(size, "score", world_size=7, ppo=PpoChoices()).batch == BatchPlan(7 * plan.batch, plan.batch, 7)


def test_choices_replace_the_numbers_of_the_table() -> None:
    assert plan_ppo(10**9, choices=PpoChoices(rollouts=96, chunk=12, epochs=1)) == PpoPlan(96, 12, 8, 1)
    assert plan_ppo(10**9, 48) == PpoPlan(96, 16, 48, 4)
    assert plan_ppo(10**9, choices=PpoChoices(rollouts=24)) == PpoPlan(24, 8, 8, 4)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (PpoChoices(rollouts=64, chunk=24), "24 does not divide 64: take 16 or 32"),
        (PpoChoices(rollouts=60), "60 is not one of 8: take 56 or 64"),
        (PpoChoices(rollouts=0), "rollouts is a whole number from 1"),
        (PpoChoices(chunk=0), "chunk is a whole number from 1"),
        (PpoChoices(epochs=0), "epochs is a whole number from 1"),
    ],
)
def test_rollouts_fill_whole_chunks_and_steps(choices: PpoChoices, said: str) -> None:
    with pytest.raises(BudgetError, match=re.escape(said)):
        plan_ppo(10**9, choices=choices)


def test_the_document_has_the_tables_of_the_code() -> None:
    rows = {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in DOCUMENT.splitlines()}
    for row in PPO_TABLE:
        plan = plan_ppo(row.parameters)
        figures = (row.rollouts, row.chunk, row.batch, row.epochs, plan.optimizer_steps, row.learning_rate, row.tokens)
        assert (row.name, *map(str, figures)) in rows
        assert format_budget(row.parameters) == row.name
    for ratio in RATIO_TABLE:
        low, high = ratio.optimum
        assert any(row[1:] == (str(ratio.minimum), f"{low}–{high}") for row in rows)
    for spread in SHARPE_SPREADS:
        error, width = 1 / math.sqrt(spread.batch), spread.high - spread.low
        figures = (f"{spread.low}".replace("-", "−"), f"{spread.high}", f"{width:.3f}", f"{error:.4f}")
        assert (str(spread.batch), *figures, f"{width / error:.1f}") in rows
