"""How a space is searched: pure deciders, records in, proposal out.

A strategy is made once for a study. It may keep what it was shown, to be quicker the next time: equal records and
seeds give equal proposals all the same.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from optuna.distributions import BaseDistribution, FloatDistribution

from hpo.records import Origin, TrialRecord, TrialState
from hpo.strategies.tpe import Tpe
from studies.spec import Direction

Strategy = Callable[[Sequence[TrialRecord], Mapping[str, BaseDistribution], Direction, int], dict[str, Any]]

STRATEGIES: Final[Mapping[str, Callable[[], Strategy]]] = MappingProxyType({"tpe": Tpe})

__all__ = ["STRATEGIES", "Strategy", "warm_up"]


def warm_up() -> None:
    """Let every strategy propose once, for nobody.

    It takes the memory that it needs, 2 MiB, when a worker begins, so that what a worker grows by later is a leak.
    """
    trials = [
        TrialRecord(
            number=number,
            slot=number,
            turn=1,
            attempt=1,
            origin=Origin.SAMPLED,
            params={"x": number / 20},
            seed=number,
            state=TrialState.COMPLETE,
            score=float(number),
        )
        for number in range(20)
    ]
    for make in STRATEGIES.values():
        make()(trials, {"x": FloatDistribution(0.0, 1.0)}, "maximize", 1)
