"""The sections of a specification: one class a section, checked when it is read."""

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from budgets import PHASE2_RANGES, Architecture, SupplementaryConfiguration, SupplementaryRanges
from budgets.divisors import LARGEST_COUNT

Tier = Literal["none", "a20", "a50", "a100", "a200"]


class Section(BaseModel):
    """What all sections have in common: unknown keys are refused, values do not change."""

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


Loss = Literal["bernoulli", "weighted", "focal", "mae", "mse", "huber", "quantile"]
REGRESSION_LOSSES: Final = frozenset({"mae", "mse", "huber", "quantile"})


class DataSpec(Section):
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


class TargetSpec(Section):
    """What is predicted: does the price rise by `threshold` within `horizon` rows?"""

    horizon: int = Field(1, ge=1, description="rows ahead")
    threshold: float = Field(0.01, gt=-1, lt=1, description="rise that counts, as a fraction: 0.01 is 1 %")
    kind: Literal["touch", "close"] = Field("touch", description="touch: the high reaches it; close: the last close")


class EarlyStopSpec(Section):
    """When the search has converged: DESIGN of the rule in `hpo.convergence`."""

    patience: int = Field(20, ge=1, description="complete trials before the rule may stop the search")
    threshold: float = Field(0.02, ge=0, description="largest spread of the best scores that counts as converged")
    top_k: int = Field(5, ge=2, description="how many distinct best configurations are compared")


class PruningSpec(Section):
    """Which trials are ended as hopeless before their last step: see `hpo.pruning`. Only what a sampler proposed."""

    enabled: bool = Field(False, description="end trials that are far behind those of the same budget")
    percentile: float = Field(
        50, gt=0, lt=100, description="hopeless: below this percentile of its peers at its step, beyond the tolerance"
    )
    tolerance: float | None = Field(
        None, ge=0, description="in units of the score: nobody is hopeless within it; default: 0.03 for an AUC"
    )
    warmup_steps: int | None = Field(
        None, ge=0, description="steps before which nobody is judged; default: a third of the longest peer's"
    )
    min_trials: int = Field(5, ge=2, description="comparable trials below which nobody is judged")
    patience: int = Field(2, ge=1, description="looks in a row that have to find a trial hopeless")


class TrainingSpec(Section):
    """How one model is trained; the same for every trial of the study."""

    max_steps: int = Field(300, ge=1, description="optimizer steps")
    window: int = Field(80, ge=2, description="rows of history that the model sees")
    precision: Literal["auto", "32-true", "tf32", "bf16-mixed"] = Field(
        "auto",
        description="auto: bf16-mixed where the study is made on hardware that has it and gains by it, else 32-true; "
        "the same on every machine",
    )
    effective_batch: int = Field(64, ge=1, le=LARGEST_COUNT, description="windows an optimizer step")
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="windows a forward pass, a divisor of the effective batch; default: as many as fit, 16 on a CPU",
    )
    loss: Loss = Field(
        "bernoulli", description="bernoulli; weighted: positives count by their rarity; focal: hard windows count more"
    )
    gradient_checkpointing: bool = Field(
        False, description="compute activations again in the backward pass: less memory, about a third more time"
    )
    empty_cache: bool = Field(
        False, description="give the GPU's cached memory back after every look, to other trials on the card"
    )
    data_workers: int = Field(0, ge=0, description="processes that gather windows; the built-in data needs none")
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


class SplitSpec(Section):
    """Parts of the history, by time: the newest is the test part, the one before it validates."""

    validation: float = Field(0.15, gt=0, lt=0.5)
    test: float = Field(0.15, gt=0, lt=0.5)


class Shape(Section):
    """Width, depth and heads, in place of those of the table."""

    d_model: int
    n_layers: int
    n_heads: int

    @model_validator(mode="after")
    def _possible(self) -> Self:
        Architecture(self.d_model, self.n_layers, self.n_heads)
        return self


class StyleShapes(Section):
    """Other shapes for one budget."""

    shallow: Shape | None = None
    deep: Shape | None = None


class AlertSpec(Section):
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


class Phase2Spec(Section):
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


class SupplementarySpec(Section):
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
