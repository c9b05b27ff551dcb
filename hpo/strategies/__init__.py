"""How a space is searched: pure deciders, records in, proposal out."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from optuna.distributions import BaseDistribution

from hpo.records import TrialRecord
from hpo.strategies.tpe import propose_tpe
from studies.spec import Direction

Strategy = Callable[[Sequence[TrialRecord], Mapping[str, BaseDistribution], Direction, int], dict[str, Any]]

STRATEGIES: Final[Mapping[str, Strategy]] = MappingProxyType({"tpe": propose_tpe})

__all__ = ["STRATEGIES", "Strategy"]
