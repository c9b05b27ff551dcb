"""The specification of a study: everything that decides what is searched, in one checked YAML file.

Unknown keys are refused, and every message names the file, the line, the key and the value. Two specifications
are the same study exactly when their fingerprints are equal.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import product
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from budgets import (
    BUDGET_CONFIGS,
    STYLES,
    Architecture,
    SupplementaryRanges,
    compute_budget_aware_extremes,
    generate_corners,
    generate_forced_configs,
    metric_kind,
    parse_budget,
)
from studies.families import FAMILIES, Family, ModelName, WindowShape
from studies.sections import (
    REGRESSION_LOSSES,
    AlertSpec,
    DataSpec,
    EarlyStopSpec,
    Phase2Spec,
    PruningSpec,
    Section,
    Shape,
    SplitSpec,
    StyleShapes,
    SupplementarySpec,
    TargetSpec,
    TrainingSpec,
)

Direction = Literal["maximize", "minimize"]
Mode = Literal["fast", "safe"]

AUC_NOISE: Final = 0.03
"""Half of the interval of a validation AUC in the recorded searches: 422 days, 76 of them positive."""

LARGEST_CAP: Final = 1_000_000
"""Of trials: far more than anybody runs, and within the integers of a database."""

# What may change while a study runs: it decides how trials run or when to alert, and no result.
_HOW_IT_RUNS = frozenset({"alerts", "keep_weights", "mode"})


def _canonical_budget(value: object) -> object:
    """Accept `2m` or `2000000` for `2M`; leave what is no budget at all to the type check."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return value
    count = parse_budget(str(value))
    names = {parse_budget(name): name for name in BUDGET_CONFIGS}
    if count not in names:
        raise ValueError(f"unknown budget {value!r}: choose among {', '.join(BUDGET_CONFIGS)}")
    return names[count]


Budget = Annotated[str, BeforeValidator(_canonical_budget)]

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


class Spec(Section):
    """A study. Everything but the name has a default."""

    name: str = Field(pattern=rf"^{_NAME}(/phase2/{_NAME})?$", description="the study's name in the storage")
    objective: str = Field("neuralforecast", description="neuralforecast, or package.module:callable")
    model: ModelName = Field("itransformer", description="model family of the neuralforecast objective")
    data: DataSpec = DataSpec()
    target: TargetSpec = TargetSpec()
    budgets: tuple[Budget, ...] = Field(tuple(BUDGET_CONFIGS), description="parameter budgets to search")
    architectures: dict[Budget, StyleShapes] = Field(
        default_factory=dict,
        description="other shapes for a budget, for example 2M: {deep: {d_model: 192, …}}",
    )
    trials: int = Field(70, ge=1, le=LARGEST_CAP, description="cap on the whole study, forced configurations included")
    forced_extremes: bool = Field(True, description="train the forced configurations first")
    early_stop: EarlyStopSpec = EarlyStopSpec()
    pruning: PruningSpec = PruningSpec()
    training: TrainingSpec = TrainingSpec()
    split: SplitSpec = SplitSpec()
    seed: int = Field(
        1, ge=0, le=2_000_000_000, description="seed of training and sampler; equal seeds give equal trials"
    )
    seeds: int = Field(
        1,
        ge=1,
        le=1000,
        description="with how many seeds the best configuration and the cheapest forced one are trained in all, within "
        "the cap, so that the noise is known; 1: no repeats",
    )
    max_attempts: int = Field(3, ge=1, description="how often a trial is begun before its slot is given up")
    direction: Direction = "maximize"
    metric: str | None = Field(
        None,
        description="what the score is, such as auc or sharpe: the rules on batches ask; default: auc, or score",
    )
    mode: Mode = Field(
        "fast",
        description="safe: one worker, no data workers, deterministic operations, anomaly checks; never another result",
    )
    keep_weights: int = Field(
        10,
        ge=0,
        le=LARGEST_CAP,
        description="of how many of the best configurations the weights are kept, for an ensemble; 0: of none",
    )
    phase2: Phase2Spec = Phase2Spec()
    alerts: AlertSpec = AlertSpec()
    supplementary: SupplementarySpec | None = Field(None, description="set in studies of Phase 2, by hpo phase2")

    @field_validator("objective")
    @classmethod
    def _objective_is_importable_by_name(cls, value: str) -> str:
        module, colon, attribute = value.partition(":")
        dotted = colon and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))
        if value != "neuralforecast" and not dotted:
            raise ValueError(f"objective is neuralforecast or package.module:callable, not {value!r}")
        return value

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, value: str | None) -> str | None:
        if value is not None:
            metric_kind(value)
        return value

    @field_validator("budgets")
    @classmethod
    def _budgets_named_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError(f"the list of budgets is empty: name at least one of {', '.join(BUDGET_CONFIGS)}")
        return tuple(name for name in BUDGET_CONFIGS if name in value)

    @model_validator(mode="after")
    def _named_after_its_phase(self) -> Self:
        name = self.name if self.supplementary is None else phase2_name(self.supplementary.of, self.budgets[0])
        if self.name != name or ("/" in self.name) != (self.supplementary is not None):
            raise ValueError(f"name {self.name!r} is for a study that hpo phase2 makes: leave out the slash")
        return self

    @model_validator(mode="after")
    def _cap_holds_the_corners(self) -> Self:
        corners = self._designs
        if self.supplementary is not None and self.trials < corners:
            raise ValueError(f"trials={self.trials} is below the {corners} corners: raise trials to at least {corners}")
        return self

    @model_validator(mode="after")
    def _cap_holds_the_forced(self) -> Self:
        forced = self._designs
        if self.trials < forced:
            raise ValueError(
                f"trials={self.trials} is below the {forced} forced configurations of {', '.join(self.budgets)}: "
                f"raise trials to at least {forced}, search fewer budgets, or set forced_extremes to false "
                "(--no-forced-extremes)"
            )
        return self

    @model_validator(mode="after")
    def _cap_holds_the_repeats(self) -> Self:
        first = max(1, self._designs)
        if self.trials < first + self.repeats:
            what = f"{self._designs} forced configurations" if self._designs else "1 configuration"
            raise ValueError(
                f"trials={self.trials} is below {what} and {self.repeats} repeats for seeds={self.seeds}: raise trials "
                f"to at least {first + self.repeats}, or lower seeds"
            )
        return self

    @model_validator(mode="after")
    def _an_auc_is_maximized(self) -> Self:
        if self.uses_prices and self.direction == "minimize":
            raise ValueError("the score of objective neuralforecast is an AUC, not to be minimized: drop direction")
        if self.uses_prices and self.metric not in {None, "auc"}:
            raise ValueError(f"the score of objective neuralforecast is an AUC, not {self.metric}: drop metric")
        return self

    @model_validator(mode="after")
    def _who_prunes_knows_the_noise(self) -> Self:
        if self.pruning.enabled and self.pruning.tolerance is None and self.score_metric != "auc":
            raise ValueError(
                f"pruning needs a tolerance for metric {self.score_metric}, whose noise nobody knows, not none: set "
                "pruning.tolerance in units of the score, such as twice the spread between seeds"
            )
        return self

    @model_validator(mode="after")
    def _a_classifier_has_a_classification_loss(self) -> Self:
        if self.uses_prices and self.training.loss in REGRESSION_LOSSES:
            raise ValueError(
                f"training.loss {self.training.loss} is one of regression, and the score is the AUC of a classifier: "
                "take bernoulli, weighted or focal"
            )
        return self

    @model_validator(mode="after")
    def _the_family_can_be_built(self) -> Self:
        features = int(self.data.tier != "none")
        window = WindowShape(self.training.window, self.target.horizon, n_series=1, n_features=features)
        styles = STYLES if self.supplementary is None else (self.supplementary.style,)
        for budget, style in product(self.budgets if self.uses_prices else (), styles):
            refused = self._family.refusal(self.architecture(budget, style), window)
            if refused is not None:
                raise ValueError(f"model {self.model} ({budget} {style}) {refused}")
        low, high = self.phase2.n_heads
        if self.uses_prices and not low <= (self._family.heads or low) <= high:
            raise ValueError(
                f"model {self.model} is built with n_heads={self._family.heads} alone, and phase2.n_heads goes from "
                f"{low} to {high}: leave it out"
            )
        return self

    @property
    def repeats(self) -> int:
        """Slots of the cap that go to other seeds: of the best configuration, and in Phase 1 of a forced one."""
        return (self.seeds - 1) * (1 if self.supplementary or not self._designs else 2)

    @property
    def pruning_tolerance(self) -> float:
        """How far behind its peers a trial may be and is not hopeless, in units of the score."""
        return AUC_NOISE if self.pruning.tolerance is None else self.pruning.tolerance

    @property
    def _designs(self) -> int:
        if self.supplementary is not None:
            return len(generate_corners(self.supplementary.centre, self.ranges))
        return len(generate_forced_configs(self.budgets)) if self.forced_extremes else 0

    @property
    def score_metric(self) -> str:
        """What the score is, in the words of `budgets.METRIC_KINDS`."""
        return self.metric or ("auc" if self.uses_prices else "score")

    @property
    def how_it_runs(self) -> dict[str, Any]:
        """What may change while the study runs, as JSON types."""
        return self.model_dump(mode="json", include=set(_HOW_IT_RUNS))

    @property
    def uses_prices(self) -> bool:
        """Whether the built-in objective trains on prices; a callable brings its own data."""
        return self.objective == "neuralforecast"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what is searched, defaults included: of all but what may change while it runs."""
        searched = self.model_dump(mode="json", exclude=set(_HOW_IT_RUNS))
        return hashlib.sha256(json.dumps(searched, sort_keys=True).encode()).hexdigest()

    @property
    def ranges(self) -> SupplementaryRanges:
        """Where Phase 2 searches at the width of this study's model."""
        assert self.supplementary is not None
        heads = self._family.heads if self.uses_prices else None
        ranges = self.phase2.ranges if heads is None else replace(self.phase2.ranges, n_heads=(heads, heads))
        return ranges.for_width(self.architecture(self.budgets[0], self.supplementary.style).d_model)

    @property
    def _family(self) -> Family:
        return FAMILIES[self.model]

    def as_json(self) -> dict[str, Any]:
        """Return the specification with every default written out, as JSON types."""
        return self.model_dump(mode="json")

    def architecture(self, budget: str, style: str) -> Architecture:
        """Return the shape of a budget and style: from `architectures` where that names it, else the table's.

        A family that is built with one number of heads alone has that one in place of the table's.
        """
        override: Shape | None = getattr(self.architectures.get(budget, StyleShapes()), style)
        if override is None:
            row = compute_budget_aware_extremes(budget, style)
            heads = self._family.heads if self.uses_prices else None
            return row if heads is None else replace(row, n_heads=heads)
        return Architecture(override.d_model, override.n_layers, override.n_heads)


def phase2_name(of: str, budget: str) -> str:
    """Return the name of the study that supplements another one at a budget."""
    return f"{of}/phase2/{budget}"


def differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield `key: stored → given` for every value in which two specifications differ."""
    before, after = dict(leaves(stored)), dict(leaves(given))
    for key in sorted(before.keys() | after.keys()):
        if key.partition(".")[0] not in _HOW_IT_RUNS and before.get(key) != after.get(key):
            yield f"{key}: {before.get(key)} → {after.get(key)}"


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value with its dotted key, such as `early_stop.patience`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
