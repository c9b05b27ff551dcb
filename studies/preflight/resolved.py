"""A study with nothing left implicit: every value written out, and every model that it will train."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.distributions import FloatDistribution

from budgets import STYLES, BatchPlan, estimate_parameters, generate_forced_configs
from budgets.memory import Footprint, MemoryEstimate, estimate_memory
from studies.batches import batch_plan
from studies.declaration import Derived, derive
from studies.spaces import phase1_space
from studies.spec import Spec, leaves

_SIZE_KEYS = ("d_model", "n_layers", "n_heads", "d_ff")
# What a study that brings its own objective says nothing about, unless it sets it.
_OF_PRICES = ("model", "data", "target", "split")


@dataclass(frozen=True)
class Model:
    """One model that the study trains, or one group of trials that share it.

    Attributes:
        name: such as `2M_shallow`.
        parameters: exact where the study counts its models, else 12·L·d².
        exact: whether they are.
        plan: of the batch, at the largest effective batch that is searched.
        smallest_batch: the smallest effective batch that is searched.
        learning_rates: lowest and highest that are searched.
        default_rates: of single trials that are trained whatever the sampler thinks, and are no extremes.
        footprint: what it keeps in memory; None where the study brings its own models.
    """

    name: str
    d_model: int
    n_layers: int
    n_heads: int
    d_ff: int
    parameters: int
    exact: bool
    plan: BatchPlan
    smallest_batch: int
    learning_rates: tuple[float, float]
    default_rates: tuple[float, ...] = ()
    footprint: Footprint | None = None

    @property
    def estimated(self) -> int:
        """12·L·d², by which models are compared: it knows nothing of the data."""
        return estimate_parameters(self.n_layers, self.d_model)

    def memory(self, plan: BatchPlan, data_bytes: int) -> MemoryEstimate | None:
        """Return what a trial takes with this batch beyond its process at the start."""
        if self.footprint is None:
            return None
        return estimate_memory(self.footprint, plan.micro, accumulation=plan.accumulation, data_bytes=data_bytes)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "name": self.name,
            **{key: getattr(self, key) for key in _SIZE_KEYS},
            "parameters": self.parameters,
            "exact": self.exact,
            "effective_batch": self.plan.effective,
            "smallest_effective_batch": self.smallest_batch,
            "micro_batch": self.plan.micro,
            "accumulation": self.plan.accumulation,
            "learning_rates": list(self.learning_rates),
        }


@dataclass(frozen=True)
class Resolved:
    """What would be run.

    Attributes:
        name: of the study, with `#number` for one trial of it.
        values: every key of the specification, dotted, and of a trial its parameters, as JSON types.
        metric: what the score is.
        loss_given: whether somebody chose the loss, or it is only the default.
        models: from the smallest to the largest.
        unused: the values that play no part, since the study brings its own objective and leaves them as they are.
        trial: the parameters of a single trial; None for a whole study.
        data_bytes: of what every trial reads.
        hours: that the whole search takes at the least on this machine; None where that is unknown.
    """

    name: str
    values: Mapping[str, Any]
    metric: str
    loss_given: bool
    models: tuple[Model, ...]
    data_bytes: int = 0
    hours: float | None = None
    unused: frozenset[str] = frozenset()
    trial: Mapping[str, Any] | None = None

    @property
    def largest(self) -> Model:
        """The model with the most parameters."""
        return max(self.models, key=lambda model: model.parameters)


@dataclass(frozen=True)
class Known:
    """What the preparation of a study has found out, beside its specification."""

    derived: Sequence[Derived] = ()
    sizes: Mapping[str, Any] = field(default_factory=dict)
    hours: float | None = None
    precision: str | None = None


def resolve(spec: Spec, known: Known) -> Resolved:
    """Return a study with every value explicit."""
    return Resolved(
        name=spec.name,
        values=_explicit(spec, known),
        metric=spec.score_metric,
        # The specification of Phase 2 is written out, defaults and all.
        loss_given="loss" in spec.training.model_fields_set and spec.supplementary is None,
        models=tuple(sorted(_models(spec, known), key=lambda model: model.parameters)),
        data_bytes=int(known.sizes.get("data_bytes", 0)),
        hours=known.hours,
        unused=frozenset(_unused(spec)),
    )


def _explicit(spec: Spec, known: Known) -> dict[str, Any]:
    """Return every value by its dotted key, with what follows from a default in its place."""
    found = {**dict(leaves(spec.as_json())), "metric": spec.score_metric}
    if known.precision is not None and spec.training.precision == "auto":
        found["training.precision"] = known.precision
    if spec.score_metric == "auc":
        found["pruning.tolerance"] = spec.pruning_tolerance
    return found


def _unused(spec: Spec) -> Iterator[str]:
    for name in () if spec.uses_prices else _OF_PRICES:
        if getattr(spec, name) == Spec.model_fields[name].default:
            yield from dict(leaves({name: spec.as_json()[name]}))


def resolve_trial(spec: Spec, known: Known, number: int, values: Mapping[str, Any]) -> Resolved:
    """Return one trial of a study; its parameters stand for what the study searches."""
    study = resolve(spec, known)
    shape = values.get("shape")
    model = next((model for model in study.models if model.name == shape), study.models[0])
    rate = float(values.get("learning_rate", model.learning_rates[0]))
    plan = batch_plan(values, spec.training)
    own = replace(
        model,
        n_heads=int(values.get("n_heads", model.n_heads)),
        plan=plan,
        smallest_batch=plan.effective,
        learning_rates=(rate, rate),
        default_rates=(rate,),
    )
    return replace(study, name=f"{study.name}#{number}", models=(own,), trial=dict(values))


def _models(spec: Spec, known: Known) -> Iterator[Model]:
    styles = STYLES if spec.supplementary is None else (spec.supplementary.style,)
    for budget in spec.budgets:
        for style in styles:
            yield _model(spec, known, budget, style)


def _model(spec: Spec, known: Known, budget: str, style: str) -> Model:
    architecture = spec.architecture(budget, style)
    batches = (spec.training.effective_batch,) if spec.supplementary is None else spec.ranges.effective_batch
    chosen: dict[str, Any] = {
        "budget": budget,
        "style": style,
        "n_heads_log2": 0,
        "effective_batch_log2": max(batches).bit_length() - 1,
    }
    found = derive(chosen, tuple(known.derived))
    footprint = known.sizes.get("footprints", {}).get(f"{budget}_{style}")
    return Model(
        name=f"{budget}_{style}",
        d_model=architecture.d_model,
        n_layers=architecture.n_layers,
        n_heads=architecture.n_heads,
        d_ff=architecture.d_ff,
        parameters=found.get("exact_params", architecture.estimated_params),
        exact="exact_params" in found,
        plan=batch_plan({"effective_batch": max(batches), **found}, spec.training),
        smallest_batch=min(batches),
        learning_rates=_searched_rates(spec),
        default_rates=_default_rates(spec, budget),
        footprint=None if footprint is None else Footprint.from_json(footprint),
    )


def _searched_rates(spec: Spec) -> tuple[float, float]:
    if spec.supplementary is not None:
        return spec.ranges.learning_rate
    searched = phase1_space(spec)["learning_rate"]
    assert isinstance(searched, FloatDistribution)
    return searched.low, searched.high


def _default_rates(spec: Spec, budget: str) -> tuple[float, ...]:
    if spec.supplementary is not None:
        # The centre is what Phase 1 found best, whatever a rule of thumb says.
        return ()
    forced = generate_forced_configs((budget,)) if spec.forced_extremes else ()
    return tuple({configuration.learning_rate for configuration in forced if configuration.group != "lr_extremes"})
