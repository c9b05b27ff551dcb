"""What a reading of the test part means, in plain sentences; pure functions of the reading."""

from collections.abc import Iterator

from budgets import format_budget
from hpo.output import count
from hpo.report.final_result import Comparison, FinalResult, FinalScore
from hpo.report.final_statistics import Estimate
from hpo.report.finalists import Finalist, FinalPlan
from hpo.report.readings import FinalReading

_ORDINALS = {2: "2nd", 3: "3rd"}


def sentences(reading: FinalReading) -> tuple[str, ...]:
    """Return what a reading means, the most important first; none where it has no result yet."""
    result = reading.result
    if result is None:
        return ()
    finalists = {finalist.rank: finalist for finalist in reading.plan.finalists}
    return tuple(
        sentence
        for sentence in (
            *_of_the_first(finalists[result.scores[0].rank], result),
            _of_two(finalists, result.comparison, result),
            *_of_the_reading(reading),
            *_of_failures(reading.plan),
            *_of_collapse(finalists, result),
            _of_the_part(result),
        )
        if sentence
    )


def _of_the_first(finalist: Finalist, result: FinalResult) -> Iterator[str]:
    score = result.scores[0]
    test = score.test
    yield (
        f"{finalist.label} was chosen by a validation AUC of {score.chosen_by:.4f}; trained again over "
        f"{count(len(score.seeds), 'fresh seed')} it has {score.validation:.4f} there and {test.value:.4f} "
        f"({test.low:.4f} to {test.high:.4f}) on the test part."
    )
    yield _of_optimism(score)
    yield f"Against the baseline, {result.baseline_name}, it is {_told(score.over_baseline)}."


def _of_optimism(score: FinalScore) -> str:
    test = score.test
    inside = test.low <= score.chosen_by <= test.high
    fits = "which is within the interval" if inside else "which is outside of the interval"
    return (
        f"Optimism of its validation score: {score.optimism:+.4f}, {fits}; {score.luck:+.4f} of it is luck of the "
        f"choice, that fresh seeds do not repeat, and {score.period:+.4f} the step to another period."
    )


def _of_two(finalists: dict[int, Finalist], found: Comparison | None, result: FinalResult) -> str:
    if found is None:
        rest = "no other configuration" if len(result.scores) < 2 else "no seed in common with the next one"
        return f"The first finalist has {rest} to be compared with."
    first, second = finalists[found.first], finalists[found.second]
    told = _told(found.difference)
    pair = f"{first.label} against {second.label}, on the same dates and {count(len(found.seeds), 'seed')}: {told}."
    if found.difference.excludes_zero:
        return pair
    if first.size and second.size and first.size != second.size:
        smaller = min(first, second, key=lambda each: each.size or 0)
        return f"{pair} Take the cheaper one, {smaller.label} with {format_budget(smaller.size or 0)} parameters."
    return f"{pair} Either will do."


def _told(difference: Estimate) -> str:
    interval = f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
    if not difference.excludes_zero:
        return f"not told apart, {interval}"
    return f"{'better' if difference.value > 0 else 'worse'} by {abs(difference.value):.4f}, {interval}"


def _of_the_reading(reading: FinalReading) -> Iterator[str]:
    if reading.earlier:
        number = 1 + len(reading.earlier)
        study, when = reading.earlier[0]
        yield (
            f"This is the {_ORDINALS.get(number, f'{number}th')} reading of the test part of these prices, the first "
            f"was at {when:%Y-%m-%d %H:%M} UTC by {study}: whoever has seen that has searched on with it, so these "
            "test scores are optimistic too."
        )
    result = reading.result
    if result is not None and result.noise.degrees == 0:
        yield "One seed says nothing of the noise between seeds: the intervals are over other dates alone."


def _of_failures(plan: FinalPlan) -> Iterator[str]:
    labels = {finalist.rank: finalist.label for finalist in plan.finalists}
    for each in plan.retrained:
        if each.score is None:
            yield f"{labels[each.rank]} with seed {each.seed} has no score ({each.failure}); the means are without it."


def _of_collapse(finalists: dict[int, Finalist], result: FinalResult) -> Iterator[str]:
    for score in result.scores:
        if score.collapsed:
            yield (
                f"* {score.collapsed} of {count(len(score.seeds), 'training')} of {finalists[score.rank].label} "
                "predict nearly a constant: the score is worth nothing."
            )


def _of_the_part(result: FinalResult) -> str:
    return (
        f"The test part: {result.observations:,} labels of {result.series} series, "
        f"{result.first_day} to {result.last_day}, {result.base_rate:.0%} ones; intervals over "
        f"{count(result.clusters, 'cluster')} of dates and over the seeds."
    )
