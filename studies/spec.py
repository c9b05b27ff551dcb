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
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from budgets import (
    BUDGET_CONFIGS,
    PHASE2_RANGES,
    STYLES,
    Architecture,
    SupplementaryConfiguration,
    SupplementaryRanges,
    compute_budget_aware_extremes,
    generate_corners,
    generate_forced_configs,
    parse_budget,
)
from studies.families import FAMILIES, Family, ModelName, WindowShape

Tier = Literal["none", "a20", "a50", "a100", "a200"]
Direction = Literal["maximize", "minimize"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        # YAML reads yes and on as true, and pydantic true as 1.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in {int, float}:
            raise ValueError(
                f"a number is needed, not {'yes' if value else 'no'} or {str(value).lower()}: write it out"
            )
        return value


class DataSpec(_Section):
    """Where the prices come from and how many indicators are computed from them."""

    example: str | None = Field(None, description="built-in prices: indices (S&P 500 and NASDAQ, daily, 1999 to 2018)")
    path: Path | None = Field(None, description="CSV or Parquet: unique_id, ds, open, high, low, close, volume")
    tier: Tier = Field("a200", description="how many TA-Lib indicators a series: none, a20, a50, a100 or a200")

    @model_validator(mode="before")
    @classmethod
    def _built_in_prices_unless_a_path_is_given(cls, values: object) -> object:
        if isinstance(values, dict) and values.get("path") is None and values.get("example") is None:
            return {**values, "example": "indices"}
        return values

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.example is not None and self.path is not None:
            raise ValueError(f"data has one source, not both example: {self.example} and path: {self.path}: drop one")
        return self


class TargetSpec(_Section):
    """What is predicted: does the price rise by `threshold` within `horizon` rows?"""

    horizon: int = Field(1, ge=1, description="rows ahead")
    threshold: float = Field(0.01, gt=-1, lt=1, description="rise that counts, as a fraction: 0.01 is 1 %")
    kind: Literal["touch", "close"] = Field("touch", description="touch: the high reaches it; close: the last close")


class EarlyStopSpec(_Section):
    """When the search has converged: DESIGN of the rule in `hpo.convergence`."""

    patience: int = Field(20, ge=1, description="complete trials before the rule may stop the search")
    threshold: float = Field(0.02, ge=0, description="largest spread of the best scores that counts as converged")
    top_k: int = Field(5, ge=2, description="how many distinct best configurations are compared")


class TrainingSpec(_Section):
    """How one model is trained; the same for every trial of the study."""

    max_steps: int = Field(300, ge=1, description="optimizer steps")
    window: int = Field(80, ge=2, description="rows of history that the model sees")
    precision: Literal["auto", "32-true", "bf16-mixed"] = Field(
        "auto", description="auto: bf16-mixed on a CUDA device that has it, 32-true elsewhere"
    )
    effective_batch: int = Field(64, ge=1, description="windows an optimizer step")
    micro_batch: int | None = Field(None, ge=1, description="windows a forward pass; default: the effective batch")
    check_every: int = Field(25, ge=1, description="optimizer steps between two looks at the validation part")
    patience: int = Field(6, ge=1, description="looks without a better validation AUC before training ends")
    checkpoint_minutes: float = Field(
        10,
        ge=0,
        description="minutes of training between two checkpoints, from which a trial goes on after its process is "
        "lost; 0: save only when told to stop",
    )

    @model_validator(mode="after")
    def _batches_divide(self) -> Self:
        if self.effective_batch % self.micro_batch_size:
            raise ValueError(
                f"effective_batch must be a multiple of micro_batch, but {self.effective_batch} is not one of "
                f"{self.micro_batch}: choose a divisor"
            )
        return self

    @property
    def micro_batch_size(self) -> int:
        """Windows a forward pass."""
        return self.micro_batch or self.effective_batch


class SplitSpec(_Section):
    """Parts of the history, by time: the newest is the test part, the one before it validates."""

    validation: float = Field(0.15, gt=0, lt=0.5)
    test: float = Field(0.15, gt=0, lt=0.5)


class Shape(_Section):
    """Width, depth and heads, in place of those of the table."""

    d_model: int
    n_layers: int
    n_heads: int

    @model_validator(mode="after")
    def _possible(self) -> Self:
        Architecture(self.d_model, self.n_layers, self.n_heads)
        return self


class StyleShapes(_Section):
    """Other shapes for one budget."""

    shallow: Shape | None = None
    deep: Shape | None = None


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


class AlertSpec(_Section):
    """When `hpo status` alerts; may be changed while the study runs, for it is no part of what is searched."""

    gpu_memory: float = Field(0.85, gt=0, le=1, description="share of a GPU's memory in use")
    worker_memory_mb: float | None = Field(
        None, gt=0, description="a worker with its trial; default: an equal share of the machine's memory"
    )
    memory_growth: float = Field(0.2, gt=0, description="growth of a worker's own memory over its last trials")
    trials_per_hour: float | None = Field(None, gt=0, description="floor of the throughput; default: none")
    silent_seconds: float | None = Field(
        None, gt=0, description="since a worker's last beat; default: half of HPO_LOST_AFTER_SECONDS"
    )
    repeated_failures: int = Field(3, ge=2, description="trials that ended badly for one and the same reason")
    disk_free: float = Field(0.05, ge=0, lt=1, description="share of the disk of HPO_HOME that is free")


class Phase2Spec(_Section):
    """From where to where Phase 2 searches; heads and batches are powers of two."""

    n_heads: tuple[int, int] = PHASE2_RANGES.n_heads
    learning_rate: tuple[float, float] = PHASE2_RANGES.learning_rate
    weight_decay: tuple[float, float] = PHASE2_RANGES.weight_decay
    effective_batch: tuple[int, int] = PHASE2_RANGES.effective_batch

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _ = self.ranges
        return self

    @property
    def ranges(self) -> SupplementaryRanges:
        """The ranges as values."""
        return SupplementaryRanges(**self.model_dump())


class SupplementarySpec(_Section):
    """What makes a study one of Phase 2: the best trial of Phase 1 that it is built around. Written by `hpo phase2`."""

    of: str = Field(description="the study of Phase 1")
    trial: int = Field(description="the number of its best trial of this budget")
    style: Literal["shallow", "deep"]
    dropout: float
    n_heads: int
    learning_rate: float
    weight_decay: float
    effective_batch: int

    @property
    def centre(self) -> SupplementaryConfiguration:
        """The best trial in the four dimensions of Phase 2."""
        return SupplementaryConfiguration(self.n_heads, self.learning_rate, self.weight_decay, self.effective_batch)


_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


class Spec(_Section):
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
    trials: int = Field(70, ge=1, description="cap on the whole study, forced configurations included")
    forced_extremes: bool = Field(True, description="train the forced configurations first")
    early_stop: EarlyStopSpec = EarlyStopSpec()
    training: TrainingSpec = TrainingSpec()
    split: SplitSpec = SplitSpec()
    seed: int = Field(
        1, ge=0, le=2_000_000_000, description="seed of training and sampler; equal seeds give equal trials"
    )
    max_attempts: int = Field(3, ge=1, description="how often a trial is begun before its slot is given up")
    direction: Direction = "maximize"
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
        corners = 0 if self.supplementary is None else len(generate_corners(self.supplementary.centre, self.ranges))
        if self.trials < corners:
            raise ValueError(f"trials={self.trials} is below the {corners} corners: raise trials to at least {corners}")
        return self

    @model_validator(mode="after")
    def _cap_holds_the_forced(self) -> Self:
        forced = len(generate_forced_configs(self.budgets)) if self.forced_extremes and not self.supplementary else 0
        if self.trials < forced:
            raise ValueError(
                f"trials={self.trials} is below the {forced} forced configurations of {', '.join(self.budgets)}: "
                f"raise trials to at least {forced}, search fewer budgets, or set forced_extremes to false "
                "(--no-forced-extremes)"
            )
        return self

    @model_validator(mode="after")
    def _an_auc_is_maximized(self) -> Self:
        if self.uses_prices and self.direction == "minimize":
            raise ValueError("the score of objective neuralforecast is an AUC, not to be minimized: drop direction")
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
    def uses_prices(self) -> bool:
        """Whether the built-in objective trains on prices; a callable brings its own data."""
        return self.objective == "neuralforecast"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what is searched, defaults included: of all but the thresholds of alerts."""
        searched = self.model_dump(mode="json", exclude={"alerts"})
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
        """Return the shape of a budget and style, from `architectures` where that names it."""
        override: Shape | None = getattr(self.architectures.get(budget, StyleShapes()), style)
        if override is None:
            return compute_budget_aware_extremes(budget, style)
        return Architecture(override.d_model, override.n_layers, override.n_heads)


def phase2_name(of: str, budget: str) -> str:
    """Return the name of the study that supplements another one at a budget."""
    return f"{of}/phase2/{budget}"


def differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield `key: stored → given` for every value in which two specifications differ."""
    before, after = dict(_leaves(stored)), dict(_leaves(given))
    for key in sorted(before.keys() | after.keys()):
        if not key.startswith("alerts.") and before.get(key) != after.get(key):
            yield f"{key}: {before.get(key)} → {after.get(key)}"


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
