"""Batch plans: statistics ask for a batch that grows with the model, memory for one that shrinks.

Accumulation reconciles them: the *effective* batch, windows an optimizer step, follows the statistics; the
*micro-batch*, windows a forward pass of one process, follows the memory; and a step takes as many passes as are
needed, effective / (micro * world size). For a loss that is a mean over windows both give the same gradient. For one
that is itself a ratio they do not: accumulated by parts it is a mean of noisy ratios, so its mean and spread have to
be taken over the whole effective batch, and a plan says so.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

from budgets.batch_rules import (
    ROOT_SOURCE,
    TABLE_SOURCE,
    WRITTEN_SOURCE,
    minimum_effective_batch,
    next_power_of_two,
    recommended_effective_batch,
    square_root_batch,
    square_root_batch_as_written,
    why_no_minimum,
)
from budgets.divisors import check_counts, check_divides, check_multiple, largest_divisor_within
from budgets.errors import BudgetError
from budgets.metric_kinds import MetricKind, metric_kind
from budgets.parameters import format_budget
from budgets.rollouts import PPO_SOURCE, PpoChoices, PpoPlan, PpoRow, plan_ppo, ppo_row

_GIVEN: Final = "as given"
_ARITHMETIC: Final = "arithmetic"
_THIS_PROJECT: Final = "this project, docs/batching.md"


@dataclass(frozen=True)
class BatchPlan:
    """Windows an optimizer step, and how they are taken.

    Attributes:
        effective: windows an optimizer step, over all processes and passes.
        micro: windows a forward pass of one process.
        world_size: processes that train one model together.
    """

    effective: int
    micro: int
    world_size: int = 1

    def __post_init__(self) -> None:
        """Check the counts.

        Raises:
            BudgetError: one is not positive, or they do not divide; the message names the nearest that do.
        """
        check_counts(effective_batch=self.effective, micro_batch=self.micro, world_size=self.world_size)
        check_multiple(self.effective, "the effective batch", self.world_size, "the world size")
        check_divides(self.share, "the windows of a process", self.micro, "the micro-batch")

    @property
    def share(self) -> int:
        """Windows an optimizer step of one process."""
        return self.effective // self.world_size

    @property
    def accumulation(self) -> int:
        """Forward passes an optimizer step of one process."""
        return self.share // self.micro

    def halved(self) -> "BatchPlan | None":
        """Return the plan with half the micro-batch and the same effective one; None at a micro-batch of 1.

        Where half of it does not divide, the next lower divisor does: 6, 3, 1.
        """
        smaller = largest_divisor_within(self.share, self.micro // 2)
        return None if smaller is None else replace(self, micro=smaller)


@dataclass(frozen=True)
class MemoryLimit:
    """What decides the largest micro-batch; all in bytes, of one process.

    Attributes:
        fixed_bytes: needed whatever the batch: weights, gradients, optimizer, the process itself.
        bytes_a_window: added by each window of a forward pass.
        limit_bytes: not to be exceeded.
    """

    fixed_bytes: int
    bytes_a_window: int
    limit_bytes: int

    def largest(self, share: int) -> int | None:
        """Return the largest divisor of a process's windows that fits, or None where not even one window does."""
        if min(self.fixed_bytes, self.limit_bytes) < 0 or self.bytes_a_window < 1:
            raise BudgetError(
                f"memory is counted in bytes, at least one a window, not {self.bytes_a_window} a window beside "
                f"{self.fixed_bytes} within {self.limit_bytes}: correct it"
            )
        return largest_divisor_within(share, (self.limit_bytes - self.fixed_bytes) // self.bytes_a_window)


def largest_micro_batch(
    effective: int, world_size: int, fixed_bytes: int, bytes_a_window: int, limit_bytes: int
) -> int | None:
    """Return the largest micro-batch that divides and fits, or None where not even one window fits.

    Raises:
        BudgetError: the effective batch is not a multiple of the world size, or a count makes no sense.
    """
    share = BatchPlan(effective, 1, world_size).share
    return MemoryLimit(fixed_bytes, bytes_a_window, limit_bytes).largest(share)


@dataclass(frozen=True)
class Rule:
    """Where one number of a plan comes from: the rule, what it gives, and who says so."""

    rule: str
    value: int
    source: str


@dataclass(frozen=True)
class Finding:
    """What a rule has to say against a plan: rule, value and remedy in one line.

    An `error` should not be trained, a `warning` may be, a `note` is a condition under which the plan holds.
    """

    level: Literal["error", "warning", "note"]
    said: str
    source: str


@dataclass(frozen=True)
class PlannedBatch:
    """A batch plan with the rules behind it.

    Attributes:
        parameters: of the model.
        metric: as it was named.
        batch: the plan.
        rules: one a number.
        findings: what the rules have against it; nothing that is an error where the effective batch was left open.
        ppo: an iteration of PPO in each process, where that was asked for.
    """

    parameters: int
    metric: str
    batch: BatchPlan
    rules: tuple[Rule, ...]
    findings: tuple[Finding, ...] = ()
    ppo: PpoPlan | None = None

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings for which it should not be trained."""
        return tuple(finding for finding in self.findings if finding.level == "error")


def plan_batch(
    parameters: int,
    metric: str,
    *,
    effective: int | None = None,
    micro: int | None = None,
    world_size: int = 1,
    memory: MemoryLimit | None = None,
    ppo: PpoChoices | None = None,
) -> PlannedBatch:
    """Return the batch plan of a model, each number with its rule.

    An effective batch that is too small is planned all the same, and found to be an error in `findings`.

    Args:
        parameters: of the model.
        metric: what is estimated from the windows.
        effective: windows an optimizer step; default: as the metric asks.
        micro: windows a forward pass; default: what fits the memory; without a limit, what the PPO table has for
            the size.
        world_size: processes that train one model together.
        memory: what a process may use.
        ppo: plan an iteration of PPO too, with these counts in place of the table's.

    Raises:
        BudgetError: the metric is unknown, the counts do not divide, or not even one window fits the memory.
    """
    check_counts(world_size=world_size)
    effective_rule = _effective_rule(parameters, metric, effective, world_size, ppo)
    # A micro-batch of 1 always divides: this checks the rest of it, before the divisors of it are looked for.
    share = BatchPlan(effective_rule.value, 1, world_size).share
    micro_rule = _micro_rule(parameters, share, micro, memory)
    batch = BatchPlan(effective_rule.value, micro_rule.value, world_size)
    played = plan_ppo(parameters, batch.share, ppo) if ppo is not None else None
    rules = (
        *_statistics(parameters, metric),
        effective_rule,
        micro_rule,
        Rule("accumulation: effective batch / (micro-batch x world size)", batch.accumulation, _ARITHMETIC),
        *(_ppo_rules(played, ppo_row(parameters), ppo or PpoChoices()) if played is not None else ()),
    )
    return PlannedBatch(parameters, metric, batch, rules, _findings(parameters, metric, batch), played)


def _statistics(parameters: int, metric: str) -> tuple[Rule, ...]:
    kind, minimum = metric_kind(metric), minimum_effective_batch(parameters, metric)
    if kind is not MetricKind.RATIO:
        return (Rule(f"no minimum for a {kind} metric: {why_no_minimum(kind)}", minimum, _THIS_PROJECT),)
    return (
        Rule(f"minimum for a ratio at {format_budget(parameters)} parameters; below: error", minimum, TABLE_SOURCE),
        Rule("square root of the parameters; below: warning", square_root_batch(parameters), ROOT_SOURCE),
        Rule(
            "10 x the square root, as the rule is written; its own examples leave the 10 out, so it asks for nothing",
            square_root_batch_as_written(parameters),
            WRITTEN_SOURCE,
        ),
    )


def _effective_rule(
    parameters: int, metric: str, effective: int | None, world_size: int, ppo: PpoChoices | None
) -> Rule:
    recommended = recommended_effective_batch(parameters, metric)
    if effective is not None:
        return Rule("effective batch", effective, _GIVEN)
    if metric_kind(metric) is MetricKind.RATIO:
        words, source = "effective batch: next power of two that reaches both", _THIS_PROJECT
        words += f", a process, x {world_size}" if world_size & (world_size - 1) else ""
    elif ppo is not None:
        row = ppo_row(parameters)
        return Rule(f"effective batch: {row.batch} a process in row {row.name}", row.batch * world_size, PPO_SOURCE)
    else:
        words, source = "effective batch: plain default, as training.effective_batch", _THIS_PROJECT
    share = next_power_of_two(-(-recommended // world_size))
    return Rule(words, share * world_size, source)


def _micro_rule(parameters: int, share: int, micro: int | None, memory: MemoryLimit | None) -> Rule:
    fits = memory.largest(share) if memory is not None else share
    if memory is not None and (fits is None or (micro is not None and micro > _windows_within(memory))):
        asked = micro or 1
        raise BudgetError(
            f"a micro-batch fits the memory, but {asked} x {memory.bytes_a_window:,} + {memory.fixed_bytes:,} bytes "
            f"is over {memory.limit_bytes:,}: "
            + (f"take {fits}" if fits is not None else "take a smaller model, a shorter window or more memory")
        )
    if micro is not None:
        return Rule("micro-batch", micro, _GIVEN)
    if memory is not None and fits is not None:
        return Rule("micro-batch: largest divisor that fits the memory", fits, "the memory given")
    row = ppo_row(parameters)
    found = largest_divisor_within(share, row.batch) or 1
    return Rule(f"micro-batch: largest divisor up to {row.batch}, row {row.name}; no memory given", found, PPO_SOURCE)


def _windows_within(memory: MemoryLimit) -> int:
    return (memory.limit_bytes - memory.fixed_bytes) // memory.bytes_a_window


def _ppo_rules(played: PpoPlan, row: PpoRow, chosen: PpoChoices) -> tuple[Rule, ...]:
    table = f"row {row.name}, a process"

    def rule(name: str, value: int, given: int | None, tabled: int) -> Rule:
        if given is not None:
            return Rule(f"PPO {name}", value, _GIVEN)
        if value == tabled:
            return Rule(f"PPO {name}: {table}", value, PPO_SOURCE)
        return Rule(f"PPO {name}: {tabled} in {table}, made to fill whole chunks and steps", value, PPO_SOURCE)

    return (
        rule("rollouts", played.rollouts, chosen.rollouts, row.rollouts),
        rule("chunk", played.chunk, chosen.chunk, row.chunk),
        rule("epochs", played.epochs, chosen.epochs, row.epochs),
        Rule("PPO optimizer steps an iteration: epochs x rollouts / batch", played.optimizer_steps, _ARITHMETIC),
    )


def _findings(parameters: int, metric: str, batch: BatchPlan) -> tuple[Finding, ...]:
    if metric_kind(metric) is not MetricKind.RATIO:
        return ()
    minimum, root = minimum_effective_batch(parameters, metric), square_root_batch(parameters)
    remedy = f"take {recommended_effective_batch(parameters, metric)}, with accumulation where memory is short"
    size, found = format_budget(parameters), []
    if batch.effective < minimum:
        rule = f"{metric} is a ratio and needs an effective batch of at least {minimum} at {size} parameters"
        found.append(Finding("error", f"{rule}, not {batch.effective}: {remedy}", TABLE_SOURCE))
    elif batch.effective < root:
        rule = f"an effective batch for {metric} should reach sqrt({size}) = {root}"
        found.append(Finding("warning", f"{rule}, not {batch.effective}: {remedy}", ROOT_SOURCE))
    if batch.accumulation * batch.world_size > 1:
        said = (
            f"a loss that is itself {metric} has to take its mean and spread over all {batch.effective} windows of a "
            f"step, not over parts of {batch.micro}; a loss that is a mean over windows may be accumulated"
        )
        found.append(Finding("note", said, _THIS_PROJECT))
    return tuple(found)
