"""What a study cannot tell, in sentences, each with what that means for a conclusion."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hpo.output import count
from hpo.records import StudyState
from hpo.report.evidence import Evidence, Kind, Trial
from hpo.report.repetition import Cause, find_repeats, repeat_sentences, top_rows
from hpo.report.sizes import size_names

FEW: Final = 10
"""Distinct configurations below which nothing is concluded: Optuna's own sampler explores at random until then."""

FEW_SIZES: Final = 3
"""A law of three terms is not fixed by fewer."""

_MANY_FAILED: Final = 0.1
# A training takes longer: trials that were added to a study afterwards end when they begin.
_NO_TIME_SECONDS: Final = 0.05
_SHOWN: Final = 4


@dataclass(frozen=True)
class Limit:
    """Something that is not known.

    Attributes:
        about: `trials`, `state`, `failures`, `noise`, `repeats`, `size`, `cost`, `choice` or `data`.
        sentence: what is not known and what follows; sentences with their full stops.
    """

    about: str
    sentence: str


def limits(evidence: Evidence) -> tuple[Limit, ...]:
    """Return what this study cannot tell, what weighs most first; empty where nothing is missing."""
    if not evidence.trials:
        return (Limit("trials", f"{evidence.name} has no trial: there is nothing to conclude."),)
    looks: Sequence[tuple[str, Callable[[Evidence], Sequence[str]]]] = (
        ("trials", _trials),
        ("state", _state),
        ("failures", _failures),
        ("repeats", _repeats),
        ("noise", _noise),
        ("size", _size),
        ("cost", _cost),
        ("choice", _choice),
        ("data", _data),
    )
    return tuple(Limit(about, sentence) for about, look in looks for sentence in look(evidence))


def _trials(evidence: Evidence) -> Sequence[str]:
    repeats = find_repeats(evidence.trials)
    ended = [trial for trial in evidence.trials if trial.state in {"complete", "pruned", "failed"}]
    if repeats.complete == 0:
        if ended and all(trial.state == "failed" for trial in ended):
            all_of = "The only trial that has ended" if len(ended) == 1 else f"All {len(ended)} trials that have ended"
            return [f"{all_of} failed: there is no score, and nothing to compare.{_why_failed(evidence)}"]
        return ["No trial is complete: there is no score, and nothing to compare."]
    if repeats.distinct < FEW:
        are = "is" if repeats.complete == 1 else "are"
        return [
            f"Only {count(repeats.complete, 'trial')} of {count(repeats.distinct, 'distinct configuration')} {are} "
            "complete: the order of so few is luck as much as merit, and neither an effect nor a law follows from them."
        ]
    return []


def _why_failed(evidence: Evidence) -> str:
    if evidence.is_own:
        return f" `hpo status {evidence.name} --failures` says why."
    return " Why is not recorded: an exception, a score that is NaN and a dead worker look the same."


def _state(evidence: Evidence) -> Sequence[str]:
    still = Counter(trial.state for trial in evidence.trials)
    open_trials = still["running"] + still["waiting"]
    if evidence.record is not None:
        if evidence.record.state is StudyState.RUNNING:
            return ["The study is still running: what is said here may change with its next trials."]
        return []
    if not open_trials:
        return []
    return [
        f"{still['running']} of its trials are running and {still['waiting']} waiting, by its own record: it is still "
        "running, or a worker has died; what is said here rests on those that have ended."
    ]


def _failures(evidence: Evidence) -> Sequence[str]:
    states = Counter(trial.state for trial in evidence.trials)
    unusable = sum(trial.no_score is not None for trial in evidence.trials)
    ended = states["complete"] + states["pruned"] + states["failed"]
    said = []
    if unusable:
        reported = "trial has reported" if unusable == 1 else "trials have reported"
        said.append(f"{unusable} complete {reported} NaN or infinity: that is no score, and counts as a failure.")
    if states["complete"] and states["failed"] >= _MANY_FAILED * ended:
        said.append(
            f"{states['failed']} of {ended} ended trials failed: if it was their configurations that failed, the best "
            f"of the others is the best of what works, and effects are of that part alone.{_why_failed(evidence)}"
        )
    if states["pruned"]:
        were = "1 trial was" if states["pruned"] == 1 else f"{states['pruned']} trials were"
        said.append(
            f"{were} pruned: their last values are no scores and are left out, so that weak configurations look rarer "
            "than they are."
        )
    return said


def _repeats(evidence: Evidence) -> Sequence[str]:
    repeats = find_repeats(evidence.all_trials)
    # What is known between seeds is no limit.
    unknown = tuple(group for group in repeats.groups if group.cause is not Cause.SEEDS or not group.deviation)
    said = repeat_sentences(replace(repeats, groups=unknown))
    return [sentence for sentence in (*said, top_rows(evidence).sentence) if sentence]


def _noise(evidence: Evidence) -> Sequence[str]:
    repeats = find_repeats(evidence.all_trials)
    if not repeats.complete or repeats.of(Cause.SEEDS):
        return []
    if repeats.of(Cause.UNKNOWN, Cause.NON_DETERMINISM):
        return ["No repeat has a recorded seed of its own: the noise between seeds is a guess, at best a lower bound."]
    return [
        "No configuration was repeated with another seed: the noise is unknown, so that a difference between two "
        "trials can't be told from luck."
    ]


def _size(evidence: Evidence) -> Sequence[str]:
    complete = evidence.complete
    if not complete:
        return []
    sized = [trial for trial in complete if trial.size is not None]
    if not sized:
        found = size_names({**trial.attributes, **trial.params} for trial in evidence.trials)
        named = f" (numeric are {', '.join(found[:_SHOWN])})" if found else ""
        return [f"The size of a trial is unknown: no scaling law; name what it is with --size{named}."]
    said = []
    if len(sized) < len(complete):
        out = len(complete) - len(sized)
        said.append(
            f"{out} of {len(complete)} complete trials {'says' if out == 1 else 'say'} no size in "
            f"{evidence.size_name}: they are left out of everything that asks for it."
        )
    budgets = _budgets(evidence.all_trials)
    if len(budgets) < FEW_SIZES:
        sizes = "one size" if len(budgets) == 1 else f"{len(budgets)} sizes"
        said.append(f"All trials are of {sizes}: no scaling law, which takes {FEW_SIZES} sizes at least.")
    return said


def _budgets(trials: Sequence[Trial]) -> set[object]:
    """Return what counts as one size: a budget, whose shapes differ in exact parameters, or the size itself."""
    return {trial.budget or trial.size for trial in trials if trial.score is not None and trial.size is not None}


def _cost(evidence: Evidence) -> Sequence[str]:
    seconds = [trial.seconds for trial in evidence.complete if trial.seconds is not None]
    if not evidence.complete:
        return []
    if not seconds:
        return ["No trial says how long it took: the cost is unknown, and a score can't be weighed against it."]
    measured = any(trial.number_of("seconds") is not None for trial in evidence.complete)
    if not measured and max(seconds) < _NO_TIME_SECONDS:
        return [
            "All trials end as they begin: they were added afterwards, or cost nothing. The cost is unknown, and a "
            "score can't be weighed against it."
        ]
    if not measured:
        return [
            "How long a trial took is known by the clock alone, and on what machine is not: a trial that shared its "
            "machine, or paused, looks dearer than it is."
        ]
    return []


def _choice(evidence: Evidence) -> Sequence[str]:
    unknown = sum(trial.kind is Kind.UNKNOWN for trial in evidence.trials)
    if not unknown or not evidence.complete:
        return []
    queued = sum(trial.kind is Kind.ENQUEUED for trial in evidence.trials)
    known = f", but for {count(queued, 'trial')} that somebody has queued" if queued else ""
    return [
        f"Who chose {count(unknown, 'trial')}, a person or a sampler, is not recorded{known}. A sampler "
        "goes where it scored well: a mean over its trials is one over the places that it liked."
    ]


def _data(evidence: Evidence) -> Sequence[str]:
    if evidence.is_own or not evidence.complete:
        return []
    return [
        f"On what data the score was measured is not recorded. The best of {count(len(evidence.complete), 'trial')} "
        "is optimistic wherever the data that chose it also judges it."
    ]
