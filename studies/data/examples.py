"""Built-in example prices, so that a first run needs no file."""

from typing import Any

import pandas as pd

from studies.data.prices import PRICE_COLUMNS, PriceTable, check_prices
from studies.errors import DataError

#: The example names and what they hold.
EXAMPLES: dict[str, str] = {
    "indices": "S&P 500 and NASDAQ Composite, daily, 1999 to 2018, 5,031 rows each (from the arch package)",
}


def load_example(name: str) -> PriceTable:
    """The prices of a built-in example, in the form of `load_prices`.

    Args:
        name: A key of `EXAMPLES`.

    Raises:
        DataError: the example is unknown, or the package that holds it is not installed.
    """
    if name not in EXAMPLES:
        raise DataError(f"an example must be one of {', '.join(EXAMPLES)}: {name!r} is not; choose one of them")
    try:
        from arch.data import nasdaq, sp500
    except ImportError:
        raise DataError(
            f"the example {name!r} needs the package arch, which is not installed; "
            "run pip install 'budget-hpo[examples]'"
        ) from None
    frames = [_long("SP500", sp500.load()), _long("NASDAQ", nasdaq.load())]
    return check_prices(pd.concat(frames, ignore_index=True), f"example {name}")


def _long(unique_id: str, daily: Any) -> pd.DataFrame:  # noqa: ANN401 - arch ships no types
    """One index in the long layout; `Adj Close` is left out, since high and low are not adjusted."""
    columns: dict[str, object] = {"unique_id": unique_id, "ds": daily.index}
    columns |= {name: daily[name.capitalize()].to_numpy() for name in PRICE_COLUMNS}
    return pd.DataFrame(columns)
