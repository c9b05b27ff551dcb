"""Whether the best trials lie at the end of a range that was searched: the best may then lie beyond it."""

import math
from collections.abc import Iterator
from typing import Final

from optuna.distributions import FloatDistribution, IntDistribution

from hpo.report.evidence import Evidence, Trial

_BEST: Final = 5
_EDGE: Final = 0.1
"""The share of a range, logarithmic where it is searched so, that counts as its end."""


def at_the_edge(evidence: Evidence) -> Iterator[str]:
    """Yield a sentence for every parameter of which most of the best distinct configurations lie at one end.

    Three of five within a tenth of the range at one end have a chance of 1 % where the parameter means nothing and is
    drawn evenly (binomial); a sampler does not draw evenly, so this is a hint. Forced extremes lie there on purpose.
    """
    for each in (evidence, *evidence.supplements):
        distinct: dict[object, Trial] = {}
        for trial in each.ranked(each.trials):
            distinct.setdefault(trial.configuration, trial)
        best = list(distinct.values())[:_BEST]
        if len(best) < _BEST:
            continue
        for name, found in each.space.items():
            if not isinstance(found, FloatDistribution | IntDistribution) or found.single():
                continue
            places = [_place(float(trial.params[name]), found) for trial in best if name in trial.params]
            for end, inside in (("lower", lambda place: place <= _EDGE), ("upper", lambda place: place >= 1 - _EDGE)):
                near = sum(map(inside, places))
                if 2 * near > _BEST:
                    value = found.low if end == "lower" else found.high
                    yield (
                        f"{near} of the {_BEST} best configurations of {each.name} lie at the {end} end of "
                        f"{name.replace('_', ' ')}, {value:g}: the best may lie beyond it, so search a wider range."
                    )


def _place(value: float, found: FloatDistribution | IntDistribution) -> float:
    """Return where a value lies in its range, from 0 to 1."""
    low, high = float(found.low), float(found.high)
    if found.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)
