"""An ensemble on the disk: `ensemble.json` and `members/NN/weights.ckpt`, in a directory of their own.

The JSON says everything that prediction needs; it is checked when it is read, for a directory may come from anybody.
The weights are read as any checkpoint is: without running anything that stands in them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from budgets import Architecture
from studies.data.history import WindowRules
from studies.data.indicators import FEATURE_VERSION, TIERS
from studies.data.known_values import TrainScaler
from studies.ensembling import METHODS, Method
from studies.errors import EnsembleError
from studies.families import ModelName, WindowShape
from studies.members import ENSEMBLE_NAME

#: Raised whenever `ensemble.json` changes its meaning.
ENSEMBLE_VERSION: Final = 1


class _Part(BaseModel):
    # Unknown keys are left alone: they are for people.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class InputPart(_Part):
    """What the models see, and how it is made of prices."""

    series: tuple[str, ...] = Field(min_length=1)
    tier: Literal["none", "a20", "a50", "a100", "a200"]
    feature_version: int
    horizon: int = Field(ge=1)
    threshold: float
    kind: Literal["touch", "close"]
    window: int = Field(ge=2)
    history_rows: int
    base_rate: float = Field(ge=0, le=1)
    validation_until: str
    prices_until: str
    mean: list[list[float]]
    deviation: list[list[float]]

    @model_validator(mode="after")
    def _fits_together(self) -> "InputPart":
        shape = (len(self.series), len(TIERS[self.tier]))
        for name in ("mean", "deviation"):
            rows = getattr(self, name)
            if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
                raise ValueError(f"{name} has another shape than {shape[0]} series x {shape[1]} features")
        if self.history_rows < self.window + self.horizon:
            raise ValueError(f"history_rows {self.history_rows} is below window + horizon")
        return self

    @property
    def rules(self) -> WindowRules:
        """How a window is made of the last rows."""
        shape = (len(self.series), len(TIERS[self.tier]))
        scaler = TrainScaler(np.array(self.mean).reshape(shape), np.array(self.deviation).reshape(shape))
        return WindowRules(
            self.series, self.tier, self.horizon, self.threshold, self.kind, self.window, self.history_rows, scaler
        )

    @property
    def shape(self) -> WindowShape:
        """The size of one window."""
        return WindowShape(self.window, self.horizon, len(self.series), len(TIERS[self.tier]))


class MemberPart(_Part):
    """One model: `params` are all values that it was trained with, `shares` its weight by method."""

    study: str
    trial: int
    seed: int
    model: ModelName
    score: float
    params: Mapping[str, Any]
    shares: Mapping[str, float]

    @property
    def architecture(self) -> Architecture:
        """Width, depth and heads."""
        return Architecture(*(int(self.params[name]) for name in ("d_model", "n_layers", "n_heads")))

    @model_validator(mode="after")
    def _possible(self) -> "MemberPart":
        missing = [name for name in ("d_model", "n_layers", "n_heads", "dropout") if name not in self.params]
        if missing:
            raise ValueError(f"params lack {missing[0]}")
        try:
            _ = self.architecture, float(self.params["dropout"])
        except (TypeError, OverflowError) as error:
            raise ValueError(f"params hold no numbers where these are needed ({error})") from None
        return self


class EnsembleFile(_Part):
    """The content of `ensemble.json` that prediction needs."""

    version: Literal[1]
    study: str
    used: Method
    input: InputPart
    members: tuple[MemberPart, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _weights_add_up(self) -> "EnsembleFile":
        for method in METHODS:
            total = sum(member.shares.get(method, 0.0) for member in self.members)
            if method == self.used and abs(total - 1) > 1e-9:
                raise ValueError(f"the shares of {method} add up to {total:g}, not to 1")
        return self

    @property
    def used_members(self) -> tuple[int, ...]:
        """Places of the members that have a share in the prediction."""
        return tuple(at for at, member in enumerate(self.members) if member.shares.get(self.used, 0.0) > 0)


def read_ensemble(directory: Path) -> EnsembleFile:
    """Read and check `ensemble.json`.

    Raises:
        EnsembleError: there is none that this version can use; the message says what is wrong and the remedy.
    """
    content = _read_json(directory)
    version = content.get("version")
    if version != ENSEMBLE_VERSION:
        raise EnsembleError(
            f"an ensemble must be of version {ENSEMBLE_VERSION}: {directory} is of {ascii(version)[:40]}; "
            "make it again with this hpo, or use the hpo that made it"
        )
    try:
        found = EnsembleFile.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "its content"
        said = ascii(str(first["msg"]).removeprefix("Value error, "))[1:-1][:160]
        raise EnsembleError(
            f"{ENSEMBLE_NAME} must be as `hpo ensemble` wrote it: in {directory}, {ascii(where)[1:-1][:80]}: {said}; "
            "make the ensemble again"
        ) from None
    if found.input.feature_version != FEATURE_VERSION:
        raise EnsembleError(
            f"an ensemble must be of this hpo's indicators, version {FEATURE_VERSION}: {directory} is of version "
            f"{found.input.feature_version}; train and make it again, or use the hpo that made it"
        )
    return found


def _read_json(directory: Path) -> dict[str, Any]:
    remedy = "name the DIR that `hpo ensemble STUDY --out DIR` made"
    if not directory.is_dir():
        raise EnsembleError(f"an ensemble is a directory: {directory} is not one; {remedy}")
    path = directory / ENSEMBLE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EnsembleError(f"an ensemble holds {ENSEMBLE_NAME}: {directory} does not; {remedy}") from None
    except OSError as error:
        raise EnsembleError(f"{ENSEMBLE_NAME} must be readable: {path} is not ({error.strerror}); {remedy}") from None
    # Also a nesting too deep for the parser.
    except (ValueError, RecursionError):
        raise EnsembleError(f"{ENSEMBLE_NAME} must be JSON: {path} is not; make the ensemble again") from None
    if not isinstance(content, dict):
        raise EnsembleError(f"{ENSEMBLE_NAME} must be a JSON object: {path} is none; make the ensemble again")
    return content
