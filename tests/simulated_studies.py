"""Studies with a known truth: the real forced configurations, then a sampler's proposals, and noise."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from plain_tpe import plain_study

from budgets import BUDGET_CONFIGS, STYLES, generate_forced_configs
from hpo.records import Origin, TrialRecord, TrialState
from hpo.report.evidence import Evidence, Kind, Trial
from studies.declaration import declare, supplement
from studies.spaces import phase1_space
from studies.spec import Spec

BUDGETS = tuple(BUDGET_CONFIGS)
SPEC = Spec(name="simulated", objective="module:callable", budgets=list(BUDGETS))
SPACE = phase1_space(SPEC)
DEVIATION = 0.01
"""Of the noise of one trial; truths are in units of it."""

Params = Mapping[str, Any]
Truth = Callable[[Params], float]
Draw = Callable[[np.random.Generator], float]

DRAWS: dict[str, Draw] = {
    "normal": lambda random: random.normal(),
    "heavy (t5)": lambda random: random.standard_t(5) / (5 / 3) ** 0.5,
    "heavier (t3)": lambda random: random.standard_t(3) / 3**0.5,
    "skewed": lambda random: 1 - random.exponential(),
}


def nothing(_: Params) -> float:
    """An objective that ignores its parameters."""
    return 0.0


def dropout_matters(params: Params) -> float:
    """Dropout 0.1 is worse than 0.5 by 5 standard deviations, and what lies between by less."""
    return -5 * max(0.0, (0.5 - params["dropout"]) / 0.4)


def deep_is_better(params: Params) -> float:
    """By 4 standard deviations, at each budget."""
    return 4.0 * (params["style"] == "deep")


@dataclass(frozen=True)
class Noise:
    """As the report measures it."""

    standard_deviation: float
    degrees_of_freedom: float


@dataclass(frozen=True)
class Simulation:
    """What is simulated.

    Attributes:
        trials: forced ones included; repeats come on top.
        sampler: `random`, or `tpe`, which looks at the scores.
        seeds: how often the best and the cheapest configuration are run; 1 is no repeat, and leaves the noise unknown.
    """

    truth: Truth = nothing
    trials: int = 70
    sampler: str = "random"
    seeds: int = 1
    noise: str = "normal"
    direction: str = "maximize"

    def run(self, seed: int) -> tuple[Evidence, Noise | None]:
        """Return one study of this kind."""
        random = np.random.default_rng(seed)
        sign = 1.0 if self.direction == "maximize" else -1.0

        def score(params: Params) -> float:
            return sign * (0.7 + DEVIATION * (self.truth(params) + DRAWS[self.noise](random)))

        trials = list(forced(score))
        propose = tpe(trials, self.direction, seed, score) if self.sampler == "tpe" else at_random(random, score)
        while len(trials) < self.trials:
            params, value = next(propose)
            trials.append(trial(len(trials), Kind.SAMPLED, params, value))
        noise = self._repeat(trials, score)
        return Evidence("simulated", self.direction, "score", tuple(trials), space=SPACE), noise

    def _repeat(self, trials: list[Trial], score: Callable[[Params], float]) -> Noise | None:
        if self.seeds < 2:
            return None
        sign = 1.0 if self.direction == "maximize" else -1.0
        repeated = [max(trials, key=lambda each: sign * (each.score or 0.0)).params, trials[0].params]
        deviations = []
        for params in repeated:
            scores = [score(params) for _ in range(1, self.seeds)]
            # The first score of the best is the luckiest of all: it is no sample of the noise.
            deviations += list(np.array(scores) - np.mean(scores))
            trials += [trial(len(trials) + i, Kind.REPEAT, params, s, seed=i + 1) for i, s in enumerate(scores)]
        degrees = len(deviations) - len(repeated)
        return Noise(float(np.sqrt(np.sum(np.square(deviations)) / degrees)), degrees)


def forced(score: Callable[[Params], float], budgets: tuple[str, ...] = BUDGETS) -> Iterator[Trial]:
    """Yield the real forced configurations, complete."""
    for number, each in enumerate(generate_forced_configs(budgets)):
        about = {"design": each.name, "group": each.group, "design_id": each.id}
        yield trial(number, Kind.FORCED, each.params, score(each.params), **about)


def trial(
    number: int, kind: Kind, params: Params, score: float | None, seed: int = 0, study: str = "simulated", **about: Any
) -> Trial:
    """Return one trial; without a score it has failed."""
    state = "failed" if score is None else "complete"
    return Trial(study, number, kind, state, score, dict(params), {"seed": seed, **about})


def at_random(random: np.random.Generator, score: Callable[[Params], float]) -> Iterator[tuple[Params, float]]:
    """Yield points of the space of Phase 1 that look at nothing."""
    while True:
        params = {
            "budget": str(random.choice(BUDGETS)),
            "style": str(random.choice(STYLES)),
            "dropout": random.uniform(0.1, 0.7),
            "learning_rate": 10 ** random.uniform(-5, -3),
            "weight_decay": random.uniform(0, 0.01),
        }
        yield params, score(params)


def tpe(
    trials: list[Trial], direction: str, seed: int, score: Callable[[Params], float]
) -> Iterator[tuple[Params, float]]:
    """Yield what the service's sampler proposes, once it has seen the forced trials and all that it proposed."""
    records = [
        TrialRecord(
            number=each.number,
            slot=each.number,
            turn=1,
            attempt=1,
            origin=Origin.FORCED,
            params=each.params,
            seed=0,
            state=TrialState.COMPLETE,
            score=each.score,
        )
        for each in trials
    ]
    study = plain_study(records, SPACE, direction, seed)
    while True:
        asked = study.ask(SPACE)
        value = score(asked.params)
        study.tell(asked, value)
        yield asked.params, value


def phase2(score: Callable[[Params], float], sampled: int, seed: int = 0) -> Evidence:
    """Return a study of Phase 2 at 2M: the real corners, then random points."""
    random = np.random.default_rng(seed)
    best = next(each for each in forced(score) if each.attributes["design"] == "2M_shallow")
    declared = declare(supplement(SPEC, "2M", best, 25))
    name, kept = "simulated/phase2/2M", {"budget": "2M", "style": "shallow"}
    trials = []
    for design in declared.forced:
        about = {"design": design.name, "group": design.group, "design_id": design.id, **kept}
        value = score(design.params)
        trials.append(trial(len(trials), Kind.SUPPLEMENTARY, design.params, value, design.repeats, name, **about))
    for _ in range(sampled):
        params = {
            "n_heads_log2": int(random.integers(0, 5)),
            "learning_rate": float(np.exp(random.uniform(np.log(5e-6), np.log(2e-3)))),
            "weight_decay": random.uniform(5e-2, 0.1),
            "effective_batch_log2": int(random.integers(3, 9)),
        }
        trials.append(trial(len(trials), Kind.SUPPLEMENTARY, params, score(params), study=name, **kept))
    return Evidence(name, "maximize", "score", tuple(trials), space=declared.space)
