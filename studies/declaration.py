"""What a study tells the service: parameters, forced designs, derived values and the objective.

The service (`hpo`) knows nothing of transformers or prices; all it ever sees of them is a `Declaration`. Another
kind of study is another function that returns one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution

from budgets import STYLES, generate_forced_configs
from studies.spaces import Params, phase1_space
from studies.spec import Spec


@dataclass(frozen=True)
class Design:
    """A configuration that is trained whatever the sampler thinks of it."""

    id: int
    name: str
    group: str
    params: Params


@dataclass(frozen=True)
class Derived:
    """Values that follow from some of the parameters: they hold where `when` is part of the parameters."""

    when: Mapping[str, Any]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Prepared:
    """What is known once the data has been read and the models have been counted.

    `notices` are sentences for the user; `sizes` describes the data in numbers.
    """

    derived: tuple[Derived, ...]
    notices: tuple[str, ...] = ()
    sizes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Declaration:
    """A study as the service sees it.

    Attributes:
        score_name: what the score is called in the storage and on the screen.
        size_key: the parameter that decides what a trial costs.
        objective: `module:callable` that trains one trial, resolved in the trial's own process.
        preparation: `module:callable` that reads and checks the data, in a process of its own.
        preload: modules that the fork server imports once, so that a trial starts without importing them.
    """

    score_name: str
    space: Mapping[str, BaseDistribution]
    forced: tuple[Design, ...]
    size_key: str
    objective: str
    preparation: str
    preload: tuple[str, ...]


def declare(spec: Spec) -> Declaration:
    """Return the declaration of a specification."""
    forced = generate_forced_configs(spec.budgets) if spec.forced_extremes else ()
    return Declaration(
        score_name="validation AUC" if spec.uses_prices else "score",
        space=phase1_space(spec),
        forced=tuple(Design(c.id, c.name, c.group, c.params) for c in forced),
        size_key="budget",
        objective="studies.training:score" if spec.uses_prices else spec.objective,
        preparation="studies.preparation:prepare_prices"
        if spec.uses_prices
        else "studies.preparation:prepare_callable",
        preload=("studies.training",) if spec.uses_prices else ("studies.objective",),
    )


def architecture_values(spec: Spec) -> tuple[Derived, ...]:
    """Return width, depth, heads and the estimated size of every budget and style."""
    return tuple(
        Derived({"budget": budget, "style": style}, _shape_values(spec, budget, style))
        for budget in spec.budgets
        for style in STYLES
    )


def derive(params: Params, derived: tuple[Derived, ...]) -> dict[str, Any]:
    """Return all values that follow from these parameters."""
    values: dict[str, Any] = {}
    for rule in derived:
        if all(params.get(key) == value for key, value in rule.when.items()):
            values |= rule.values
    return values


def _shape_values(spec: Spec, budget: str, style: str) -> dict[str, Any]:
    shape = spec.architecture(budget, style)
    return {
        "shape": f"{budget}_{style}",
        "d_model": shape.d_model,
        "n_layers": shape.n_layers,
        "n_heads": shape.n_heads,
        "d_ff": shape.d_ff,
        "estimated_params": shape.estimated_params,
    }


def cache_directory(home: Path) -> Path:
    """Where prepared data is kept; every file in it can be made again."""
    return home / "cache"
