"""What was learnt in plain sentences, and what to do next: for people, so the numbers stand in them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from hpo.output import count
from hpo.records import StudyState
from hpo.report.charts.style import shown
from hpo.report.contenders import Contender, contenders
from hpo.report.final_words import sentences
from hpo.report.findings import Findings
from hpo.report.importances import Standing
from hpo.report.noise import Noise
from hpo.report.ranges import at_the_edge
from hpo.report.significance import Verdict as EffectVerdict
from hpo.report.size_findings import Verdict

_SHOWN: Final = 4


@dataclass(frozen=True)
class NextStep:
    """What to do, and why.

    Attributes:
        command: to type; empty where it is no command.
    """

    why: str
    command: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as JSON values."""
        return {"why": self.why, "command": self.command}


@dataclass(frozen=True)
class Summary:
    """A study's findings in words.

    Attributes:
        standing: how the study stands, in one line.
        facts: name and value of what is read first.
        details: sentences by the chart that they belong to.
        final: what the test part has said; empty where it was not read.
    """

    standing: str
    facts: tuple[tuple[str, str], ...]
    learnt: tuple[str, ...]
    next_steps: tuple[NextStep, ...]
    limits: tuple[str, ...]
    details: dict[str, tuple[str, ...]] = field(default_factory=dict)
    final: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        steps = [step.as_json() for step in self.next_steps]
        return {"standing": self.standing, "learnt": list(self.learnt), "next": steps}


def summarize(found: Findings) -> Summary:
    """Return a study's findings in words."""
    return Summary(
        standing=_standing(found),
        facts=tuple(_facts(found)),
        learnt=tuple(map(_sentence, _learnt(found))),
        next_steps=tuple(_next_steps(found)),
        limits=tuple(limit.sentence for limit in found.limits),
        details=_details(found),
        final=sentences(found.test_reading) if found.test_reading else (),
    )


def _standing(found: Findings) -> str:
    record = found.evidence.record
    if record is None:
        return f"{count(len(found.evidence.trials), 'trial')} of a study that another tool has made"
    reason = f": {record.reason}" if record.reason else ""
    return f"Phase {record.phase}, {record.state.value}{reason}"


def _facts(found: Findings) -> Iterator[tuple[str, str]]:
    trials = found.evidence.all_trials
    yield "trials with a score", f"{sum(trial.score is not None for trial in trials)} of {len(trials)}"
    if found.top:
        best = found.top[0].contender
        more = f", mean of {best.runs} seeds" if best.runs > 1 else _interval(best) and f", {_interval(best)}"
        yield f"best {found.evidence.score_name}{more}", shown(best.score)
    noise = found.noise
    yield "noise between seeds", "unknown" if noise is None else f"±{noise.standard_deviation:.2g}"
    seconds = sum(trial.seconds or 0.0 for trial in trials)
    if seconds:
        yield "of training, all workers together", _duration(seconds)


def _learnt(found: Findings) -> Iterator[str]:
    if not found.top:
        yield "No trial has a score: nothing was learnt yet"
        yield from _failed(found)
        return
    yield from _best(found)
    yield from _against_baseline(found)
    if found.noise is not None:
        yield found.noise.sentence
    yield found.sizes.sentences[0]
    yield from _effects(found)
    yield from _importances(found)
    if found.rates is not None and found.rates.verdict.value in {"falls", "rises"}:
        yield found.rates.sentences[0]
    yield from _doubtful(found)
    yield from _failed(found)


def _best(found: Findings) -> Iterator[str]:
    ranked = contenders(found.evidence)
    best, others = ranked[0], ranked[1:]
    if best.runs > 1:
        scores = f"has a mean of {shown(best.score)} over {best.runs} runs"
    else:
        scores = f"scores {shown(best.score)}{_interval(best) and f' ({_interval(best)})'}"
    trial = best.first
    yield (
        f"The best of {count(len(ranked), 'configuration')} {scores}: trial {trial.number} of {trial.study}, "
        f"{trial.label}. The best of many is lucky, which is not corrected"
    )
    if best.interval and others:
        low, high = best.interval
        inside = sum(low <= each.score <= high for each in others)
        yield f"{inside} of the {len(others)} other scores lie inside its interval: the order of these is not settled"
    if found.noise is not None and others:
        yield _lead(found.noise, best, others[0])


def _lead(noise: Noise, best: Contender, second: Contender) -> str:
    lead, needed = abs(best.score - second.score), noise.smallest_difference(best.runs, second.runs)
    said = f"Its lead over trial {second.first.number}, {lead:.2g}, is"
    if noise.is_below_noise(lead, best.runs, second.runs):
        return f"{said} below the noise between seeds ({needed:.2g} would show)"
    return f"{said} above the noise between seeds ({needed:.2g})"


def _against_baseline(found: Findings) -> Iterator[str]:
    baseline = found.baseline
    if baseline is None:
        return
    best, to_beat = found.top[0].contender.score, float(baseline["score"])
    interval = f"{baseline['low']:.3f}–{baseline['high']:.3f}"
    name = str(baseline["name"])
    what = f"{name[0].upper()}{name[1:]} scores {to_beat:.4f} ({interval})"
    if best <= to_beat:
        yield f"{what}: no trial beats it, so there is no evidence yet that a transformer is worth its cost here"
    elif best < float(baseline["high"]):
        yield f"{what}: the best trial beats it by {best - to_beat:.4f}, which lies inside that interval"
    else:
        yield f"{what}: the best trial beats it by {best - to_beat:.4f}, more than that interval"


def _effects(found: Findings) -> Iterator[str]:
    effects = found.effects.effects
    told = [effect for effect in effects if effect.verdict in {EffectVerdict.BETTER, EffectVerdict.WORSE}]
    yield from (effect.sentence for effect in told[:_SHOWN])
    if len(told) > _SHOWN:
        yield f"{len(told) - _SHOWN} more effects stand out: see below"
    below = sum(effect.verdict is EffectVerdict.BELOW_THE_NOISE for effect in effects)
    if below:
        only = "All" if below == len(effects) else f"{below} of the"
        verb = "is" if below == 1 else "are"
        yield f"{only} {count(len(effects), 'difference')} that the designs ask for {verb} below the noise"
    unknown = [effect for effect in effects if effect.verdict is EffectVerdict.UNKNOWN]
    if unknown and len(unknown) == len(effects):
        yield "Nothing can be said of the effects of the designs: the noise is unknown, or trials are missing"
    named = {effect.name for effect in told}
    yield from (
        each.sentence
        for each in found.surprises
        if each.verdict in {EffectVerdict.BETTER, EffectVerdict.WORSE} and each.name not in named
    )


def _importances(found: Findings) -> Iterator[str]:
    for scope in found.importances:
        named = [row.parameter for row in scope.parameters if row.standing is Standing.IMPORTANT]
        if named:
            where = scope.study if scope.budget is None else f"{scope.study} at {scope.budget}"
            yield f"What tells the best trials of {where} from the others is {', '.join(named)} (PED-ANOVA)"


def _doubtful(found: Findings) -> Iterator[str]:
    collapsed = [trial for trial in found.evidence.all_trials if trial.attributes.get("collapsed")]
    if collapsed:
        numbers = ", ".join(str(trial.number) for trial in collapsed[:_SHOWN])
        yield f"{count(len(collapsed), 'trial')} predict nearly a constant, so that a score is worth nothing: {numbers}"
    for swinging in found.unstable[:_SHOWN]:
        swing = swinging.swing
        yield (
            f"Trial {swing.number} is unstable: from batch to batch its {swing.metric} differs by "
            f"{swing.deviation:.2g}, against {swinging.usual:.2g} among {swinging.peers} trials with the same batch"
        )


def _failed(found: Findings) -> Iterator[str]:
    if found.failures:
        causes = ", ".join(f"{times} {cause.replace('_', ' ')}" for cause, times in found.failures.items())
        total = sum(found.failures.values())
        yield f"{count(total, 'attempt')} did not end with a score: {causes}"


def _next_steps(found: Findings) -> Iterator[NextStep]:
    name, record = found.study, found.evidence.record
    if record is not None and record.state is StudyState.RUNNING:
        yield NextStep("The study is still running: wait for its end, or watch it.", f"hpo status {name} --watch")
    if not found.top:
        yield NextStep("Find out why no trial has a score.", f"hpo status {name} --failures" if record else "")
        return
    if found.noise is None:
        yield NextStep(_repeat_advice(found))
    yield from (NextStep(sentence) for sentence in at_the_edge(found.evidence))
    if found.sizes.verdict is Verdict.IMPROVES:
        yield NextStep(
            "Larger was better up to the largest size: a budget above it is the next to try, and the law says what to "
            "expect of it."
        )
    if record is not None:
        yield from _own_steps(found)


def _repeat_advice(found: Findings) -> str:
    if found.evidence.is_own:
        return (
            "Measure the noise: put `seeds: 3` into the study's file under another name, which repeats the best "
            "configuration and a cheap one. Without it no difference here can be told from luck."
        )
    return "Run the best configuration and a cheap one again with two other seeds each, and record the seed."


def _own_steps(found: Findings) -> Iterator[NextStep]:
    record, name = found.evidence.record, found.study
    assert record is not None
    if record.state is StudyState.STOPPED:
        yield NextStep("It was stopped before it had converged.", f"hpo resume {name}")
    if record.state is StudyState.FINISHED and record.phase == 1 and not record.convergence_off:
        more = f"hpo resume {name} --trials {record.cap + 20}"
        yield NextStep("Its cap ended it before it had converged: more trials may still find better ones.", more)
    if record.phase == 1 and record.ended and not found.evidence.supplements:
        yield NextStep("Search heads, batch and regularization at the best budgets.", f"hpo phase2 {name}")
    prices = record.spec.get("objective") == "neuralforecast"
    if prices and record.ended and found.test_reading is None:
        yield NextStep(
            "When the search is over, train the best few again over seeds and read the test part, once.",
            f"hpo report {name} --final",
        )
    if prices and record.ended:
        yield NextStep("Put the best together and use them.", f"hpo ensemble {name} --top-n 5 --out ensemble")


def _details(found: Findings) -> dict[str, tuple[str, ...]]:
    """Return the sentences that stand below the charts."""
    sizes = [*found.sizes.sentences]
    if found.costs is not None:
        sizes.append(f"Against training FLOPs: {found.costs.sentences[0]}")
    if found.losses is not None:
        sizes.append(f"By the log loss: {found.losses.sentences[0]}")
    effects = [effect.sentence for effect in found.effects.effects]
    surprising = [each.sentence for each in found.surprises]
    details = {
        "sizes": sizes,
        "rates": list(found.rates.sentences) if found.rates else [],
        "effects": [*found.effects.notes, *effects, *surprising],
        "importances": [scope.sentence for scope in found.importances],
        "cost": _cheap(found),
    }
    return {name: tuple(map(_sentence, sentences)) for name, sentences in details.items() if sentences}


def _cheap(found: Findings) -> list[str]:
    """Say what the cheapest budget gives for its share of the cost, by the best of equally many."""
    timed = [trial for trial in found.evidence.complete if trial.seconds]
    ends = [size for size in found.sizes.compared if any(trial.budget == size.label for trial in timed)]
    if len(ends) < 2:
        return []
    small, large = ends[0], ends[-1]
    times = [median(trial.seconds or 0.0 for trial in timed if trial.budget == size.label) for size in (small, large)]
    return [
        f"A trial of {large.label} takes {times[1] / times[0]:.1f} times as long as one of {small.label} (medians); "
        f"the expected best of {found.sizes.common_draws} is {shown(large.expected_best or 0.0)} and "
        f"{shown(small.expected_best or 0.0)}"
    ]


def _interval(contender: Contender) -> str:
    ends = contender.interval
    return "" if ends is None else f"{ends[0]:.3f}–{ends[1]:.3f}"


def _duration(seconds: float) -> str:
    for divisor, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * divisor:
            return f"{seconds / divisor:.1f} {unit}"
    return f"{seconds:.0f} s"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
