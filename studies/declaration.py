"""What a study tells the service: parameters, forced designs, derived values and the objective.

The service (`hpo`) knows nothing of transformers or prices; all it ever sees of them is a `Declaration`. Another
kind of study is another function that returns one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from optuna.distributions import BaseDistribution

from budgets import (
    STYLES,
    Corner,
    SupplementaryConfiguration,
    generate_corners,
    generate_forced_configs,
)
from studies.batches import batch_plan, batch_values, lighter
from studies.checkpoint_contents import WEIGHTS_NAME
from studies.families import FAMILIES
from studies.sections import SupplementarySpec
from studies.spaces import Params, phase1_space, phase2_params, phase2_space
from studies.spec import Spec, phase2_name


@dataclass(frozen=True)
class Design:
    """A configuration that is trained whatever the sampler thinks of it.

    Attributes:
        slot: its unit of the cap; never changes.
        id: what it is called in the storage: 1 to 18, and for a corner of Phase 2 such as `n_heads=16`.
        repeats: how many designs before it have equal parameters; each takes another seed, and so shows the noise.
    """

    slot: int
    id: int | str
    name: str
    group: str
    params: Params
    repeats: int = 0


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
        readiness: `module:callable` that raises where a machine can't train this study's trials.
        preload: modules that the fork server imports once, so that a trial starts without importing them.
        lighter: what changes in a trial's values so that it takes less memory and gives the same result, or None
            where nothing can be made smaller.
        compared_within: the parameter whose values part the trials into groups: while they run, only trials of one
            group are compared. None: all are one group.
        kept_of_best: the file in a trial's directory that stays for the best trials alone, `keep_weights` of them.
    """

    score_name: str
    space: Mapping[str, BaseDistribution]
    forced: tuple[Design, ...]
    size_key: str
    objective: str
    preparation: str
    readiness: str
    preload: tuple[str, ...]
    lighter: Callable[[Mapping[str, Any]], dict[str, int] | None]
    kept_of_best: str = ""
    compared_within: str | None = None


def declare(spec: Spec) -> Declaration:
    """Return the declaration of a specification, of either phase."""
    corners, kind = spec.supplementary is not None, "prices" if spec.uses_prices else "callable"
    return Declaration(
        score_name="validation AUC" if spec.uses_prices else spec.score_metric,
        space=phase2_space(spec) if corners else phase1_space(spec),
        forced=_corner_designs(spec) if corners else _forced_designs(spec),
        size_key="effective_batch_log2" if corners else "budget",
        objective="studies.training:score" if spec.uses_prices else spec.objective,
        preparation=f"studies.preparation:prepare_{kind}",
        readiness=f"studies.preparation:check_{kind}",
        preload=("studies.preload",) if spec.uses_prices else ("studies.objective",),
        lighter=partial(lighter, spec.training),
        kept_of_best=WEIGHTS_NAME if spec.uses_prices else "",
        compared_within=None if corners else "budget",
    )


def _forced_designs(spec: Spec) -> tuple[Design, ...]:
    forced = generate_forced_configs(spec.budgets) if spec.forced_extremes else ()
    return tuple(Design(c.id, c.id, c.name, c.group, c.params) for c in forced)


def _corner_designs(spec: Spec) -> tuple[Design, ...]:
    assert spec.supplementary is not None
    corners = generate_corners(spec.supplementary.centre, spec.ranges)

    def repeats(corner: Corner, before: tuple[Corner, ...]) -> int:
        return sum(other.configuration == corner.configuration for other in before)

    return tuple(
        Design(slot, corner.id, corner.id, "corners", phase2_params(corner.configuration), repeats(corner, corners[:i]))
        for i, (slot, corner) in enumerate(zip(range(1, len(corners) + 1), corners, strict=True))
    )


def decided(spec: Spec, derived: Iterable[Mapping[str, Any]]) -> Spec:
    """Return a specification with the precision that was decided when its study was made, where it says auto.

    Args:
        spec: of the study.
        derived: stored with it: `Derived` as JSON types.
    """
    found = [rule["values"]["precision"] for rule in derived if "precision" in rule["values"]]
    if not found:
        return spec
    values = spec.as_json()
    return Spec.model_validate({**values, "training": {**values["training"], "precision": found[0]}})


def supplement(spec: Spec, budget: str, best: "Tried", trials: int) -> Spec:
    """Return the Phase 2 specification of a budget, around its best trial of Phase 1.

    Raises:
        ValueError: the cap is below the number of corners; a pydantic error, with the remedy.
    """
    centre = SupplementarySpec(
        of=spec.name,
        trial=best.number,
        style=best.params["style"],
        dropout=best.params["dropout"],
        **asdict(_supplementary_configuration(spec, best.params)),
    )
    changed = {"name": phase2_name(spec.name, budget), "budgets": [budget], "trials": trials}
    return Spec.model_validate({**spec.as_json(), **changed, "supplementary": centre.model_dump()})


def history(spec: Spec, supplementary: Spec, trials: Iterable["Tried"]) -> list[dict[str, Any]]:
    """Return the trials of Phase 1 that a Phase 2 study may learn from, in the names of its space.

    They share what Phase 2 keeps fixed, budget, style and dropout, and lie inside its ranges.
    """
    fixed = supplementary.supplementary
    assert fixed is not None
    kept = {"budget": supplementary.budgets[0], "style": fixed.style, "dropout": fixed.dropout}
    fitting = (
        (trial, _supplementary_configuration(spec, trial.params))
        for trial in trials
        if kept.items() <= trial.params.items()
    )
    return [
        {
            "imported_from": trial.number,
            "params": phase2_params(configuration),
            "seed": trial.seed,
            "score": trial.score,
        }
        for trial, configuration in fitting
        if supplementary.ranges.hold(configuration)
    ]


class Tried(Protocol):
    """A trial that has a score."""

    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def params(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def score(self) -> float | None: ...  # noqa: D102


def _supplementary_configuration(spec: Spec, params: Params) -> SupplementaryConfiguration:
    return SupplementaryConfiguration(
        n_heads=spec.architecture(str(params["budget"]), str(params["style"])).n_heads,
        learning_rate=float(params["learning_rate"] or 0.0),
        weight_decay=float(params["weight_decay"] or 0.0),
        effective_batch=spec.training.effective_batch,
    )


def architecture_values(spec: Spec) -> tuple[Derived, ...]:
    """Return the values that follow from the parameters of a study by arithmetic alone: shapes and sizes."""
    if spec.supplementary is not None:
        return _supplementary_values(spec, spec.supplementary)
    return (
        Derived({}, batch_values(batch_plan({}, spec.training))),
        *(
            Derived({"budget": budget, "style": style}, _shape_values(spec, budget, style))
            for budget in spec.budgets
            for style in STYLES
        ),
    )


def _supplementary_values(spec: Spec, fixed: SupplementarySpec) -> tuple[Derived, ...]:
    """Return what Phase 2 keeps fixed, and heads and batch by their logarithms."""
    ranges, budget = spec.ranges, spec.budgets[0]
    kept = {"budget": budget, "style": fixed.style, "dropout": fixed.dropout}
    return (
        Derived({}, {**_shape_values(spec, budget, fixed.style), **kept}),
        *(Derived({"n_heads_log2": power}, {"n_heads": 1 << power}) for power in _powers(ranges.n_heads)),
        *(
            Derived({"effective_batch_log2": power}, _batch_of(1 << power, spec))
            for power in _powers(ranges.effective_batch)
        ),
    )


def _batch_of(effective: int, spec: Spec) -> dict[str, int]:
    return batch_values(batch_plan({"effective_batch": effective}, spec.training))


def _powers(ends: tuple[int, int]) -> range:
    return range(ends[0].bit_length() - 1, ends[1].bit_length())


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
        "d_ff": shape.d_ff if FAMILIES[spec.model].feed_forward else None,
        "estimated_params": shape.estimated_params,
    }


def cache_directory(home: Path) -> Path:
    """Where prepared data is kept; every file in it can be made again."""
    return home / "cache"
