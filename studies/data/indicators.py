"""Indicators of one price series, in the nested tiers none, a20, a50, a100 and a200.

Every column is causal (row t uses rows up to t), free of scale (ten times the prices or the volume changes
nothing) and finite after at most `MAXIMUM_WARM_UP` rows of daily prices; weekly columns follow the calendar
and so take longer on intraday rows. What they are stands in `indicator_tables`.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd

from studies.data.bars import Bars
from studies.data.indicator_tables import A20, ADDED_IN_A50, ADDED_IN_A100, ADDED_IN_A200, Indicator
from studies.errors import DataError

#: Part of a panel's fingerprint: raise it whenever a column, a name or their order changes.
FEATURE_VERSION = 1

#: Rows of daily prices after which every column is finite.
MAXIMUM_WARM_UP = 260

_TABLES: dict[str, dict[str, Indicator]] = {
    "none": {},
    "a20": A20,
    "a50": A20 | ADDED_IN_A50,
    "a100": A20 | ADDED_IN_A50 | ADDED_IN_A100,
    "a200": A20 | ADDED_IN_A50 | ADDED_IN_A100 | ADDED_IN_A200,
}

#: The column names of each tier; a larger tier starts with the columns of the smaller one.
TIERS: Mapping[str, tuple[str, ...]] = MappingProxyType({tier: tuple(table) for tier, table in _TABLES.items()})


def compute_indicators(prices: pd.DataFrame, tier: str) -> pd.DataFrame:
    """The indicators of one series.

    Args:
        prices: open, high, low, close, volume of one series, sorted by its index ds; checked prices.
        tier: A key of `TIERS`.

    Returns:
        float64 [T, columns of the tier], indexed like `prices`; NaN in the warm-up rows at the head.

    Raises:
        DataError: the tier is unknown.
    """
    if tier not in _TABLES:
        raise DataError(f"a tier must be one of {', '.join(TIERS)}: {tier!r} is not; choose one of them")
    bars = Bars.from_frame(prices)
    # The tier none has no column, and NumPy can't stack nothing.
    columns = [np.empty((len(prices), 0)), *(indicator(bars) for indicator in _TABLES[tier].values())]
    return pd.DataFrame(np.column_stack(columns), index=prices.index, columns=list(TIERS[tier]))
