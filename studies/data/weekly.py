"""RSI and StochRSI on weekly bars, known on each day.

On day t the weekly bars are the completed weeks (their last closes) and the running week, whose close so far
is close[t]. Wilder's averages are carried over the completed weeks; day t adds one step from them with the
change since the last completed week. So a Wednesday sees Wednesday's close and never Friday's, and on the
last day of a week the value is the usual weekly one.
"""

import numpy as np

from studies.data.bars import Bars, Values, lag, ratio, rolling


def weekly_rsi(bars: Bars, period: int) -> Values:
    """Wilder's RSI over `period` weeks, on each day [T], 0 to 100; NaN until period+1 weeks are complete."""
    last_days, week_of_day = _weeks(bars)
    closes = bars.close[last_days]
    steps = np.diff(closes)
    gains = _wilder(np.maximum(steps, 0), period)
    losses = _wilder(np.maximum(-steps, 0), period)
    step_today = bars.close - lag(closes, 1)[week_of_day]
    gain_today = (gains[week_of_day] * (period - 1) + np.maximum(step_today, 0)) / period
    loss_today = (losses[week_of_day] * (period - 1) + np.maximum(-step_today, 0)) / period
    return 100 * ratio(gain_today, gain_today + loss_today, otherwise=0.5)


def weekly_stochastic_rsi(bars: Bars, period: int) -> Values:
    """Place of today's weekly RSI in its range over `period` weeks, the running one included [T], 0 to 1."""
    last_days, week_of_day = _weeks(bars)
    today = weekly_rsi(bars, period)
    completed = lag(today[last_days], 1)
    lowest = np.minimum(rolling(np.min, completed, period - 1)[week_of_day], today)
    highest = np.maximum(rolling(np.max, completed, period - 1)[week_of_day], today)
    return ratio(today - lowest, highest - lowest, otherwise=0.5)


def _weeks(bars: Bars) -> tuple[np.ndarray, np.ndarray]:
    """The last day's row of each week, and each day's week, counted from 0."""
    starts = np.concatenate(([True], bars.week[1:] != bars.week[:-1]))
    last_days = np.concatenate((np.flatnonzero(starts)[1:], [len(starts)])) - 1
    return last_days, np.cumsum(starts) - 1


def _wilder(values: Values, period: int) -> Values:
    """Wilder's averages as each week begins: entry w covers the changes up to the end of week w-1.

    Args:
        values: Gains or losses [W-1]; entry i is the change from week i to week i+1.
        period: Weeks; the first average is the plain mean of as many changes.
    """
    averages = np.full(len(values) + 1, np.nan)
    if len(values) > period:
        average = float(values[:period].mean())
        averages[period + 1] = average
        for week in range(period + 2, len(averages)):
            average = (average * (period - 1) + values[week - 2]) / period
            averages[week] = average
    return averages
