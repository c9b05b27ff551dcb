"""Families of indicators: each function takes a period and gives the indicator of that period.

Levels are turned into distances from the price, sums of volume into shares of it, so that nothing drifts with
the index level. Functions of TA-Lib with an unbounded memory (OBV, AD) are taken over a window.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import talib

from studies.data.bars import (
    FLAT,
    Bars,
    Values,
    change,
    kurtosis,
    lag,
    persistence,
    ratio,
    rolling,
    skewness,
)
from studies.data.weekly import weekly_rsi, weekly_stochastic_rsi

Indicator = Callable[[Bars], Values]
Average = Callable[[Values, int], Values]


def distance(average: Average, period: int) -> Indicator:
    """Distance of the close from a moving average of it, as a share of the average."""
    return lambda bars: bars.close / average(bars.close, period) - 1


def log_return(rows: int) -> Indicator:
    """Log return over `rows`."""
    return lambda bars: change(np.log(bars.close), rows)


def rsi(period: int) -> Indicator:
    """Wilder's RSI of the close, 0 to 100."""
    return lambda bars: talib.RSI(bars.close, period)


def rsi_weekly(period: int) -> Indicator:
    """Wilder's RSI on weekly bars, the running week up to today included."""
    return partial(weekly_rsi, period=period)


def stochastic_rsi(period: int) -> Indicator:
    """Place of the RSI within its range over `period`, 0 to 1."""

    def place(bars: Bars) -> Values:
        strength = talib.RSI(bars.close, period)
        lowest, highest = rolling(np.min, strength, period), rolling(np.max, strength, period)
        return ratio(strength - lowest, highest - lowest, otherwise=0.5)

    return place


def stochastic_rsi_weekly(period: int) -> Indicator:
    """StochRSI on weekly bars, the running week up to today included."""
    return partial(weekly_stochastic_rsi, period=period)


def macd_line(fast: int, slow: int, signal: int = 9) -> Indicator:
    """MACD line as a share of the close."""
    return lambda bars: talib.MACD(bars.close, fast, slow, signal)[0] / bars.close


def macd_histogram(fast: int, slow: int, signal: int = 9) -> Indicator:
    """MACD line minus its signal, as a share of the close."""
    return lambda bars: talib.MACD(bars.close, fast, slow, signal)[2] / bars.close


def percentage_oscillator(fast: int, slow: int) -> Indicator:
    """Fast over slow simple average, minus 1."""
    return lambda bars: talib.SMA(bars.close, fast) / talib.SMA(bars.close, slow) - 1


def average_true_range(period: int) -> Indicator:
    """Wilder's average true range as a share of the close."""
    return lambda bars: talib.ATR(bars.high, bars.low, bars.close, period) / bars.close


def true_range_ratio(period: int) -> Indicator:
    """Today's true range over its mean of `period`."""

    def compare(bars: Bars) -> Values:
        true_range = talib.TRANGE(bars.high, bars.low, bars.close)
        return ratio(true_range, rolling(np.mean, true_range, period), otherwise=1.0)

    return compare


def of_bars(function: Callable[[Values, Values, Values, int], Values], period: int) -> Indicator:
    """A function of TA-Lib of high, low, close and a period that is free of scale already."""
    return lambda bars: function(bars.high, bars.low, bars.close, period)


def of_range(function: Callable[[Values, Values, int], Values], period: int) -> Indicator:
    """A function of TA-Lib of high, low and a period that is free of scale already."""
    return lambda bars: function(bars.high, bars.low, period)


def ultimate_oscillator(period: int) -> Indicator:
    """Ultimate oscillator over `period`, twice and four times it, 0 to 100."""
    return lambda bars: talib.ULTOSC(bars.high, bars.low, bars.close, period, 2 * period, 4 * period)


def stochastic(period: int) -> Indicator:
    """Slow stochastic %K over `period`, smoothed over 3 rows, 0 to 100."""
    return lambda bars: talib.STOCH(bars.high, bars.low, bars.close, fastk_period=period, slowk_period=3)[0]


def trix(period: int) -> Indicator:
    """Rate of change of the triple exponential average, in percent."""
    return lambda bars: talib.TRIX(bars.close, period)


def bollinger_place(period: int) -> Indicator:
    """Bollinger %B with bands at 2 standard deviations: 0 on the lower band, 1 on the upper one."""

    def place(bars: Bars) -> Values:
        spread = _spread(bars, period)
        return 0.5 + ratio(bars.close - rolling(np.mean, bars.close, period), 4 * spread)

    return place


def bollinger_width(period: int) -> Indicator:
    """Distance between the bands at 2 standard deviations, as a share of their middle."""
    return lambda bars: 4 * _spread(bars, period) / rolling(np.mean, bars.close, period)


def _spread(bars: Bars, period: int) -> Values:
    spread = rolling(np.std, bars.close, period)
    return np.where(spread < FLAT * bars.close, 0.0, spread)


def volatility(period: int) -> Indicator:
    """Standard deviation of the log returns."""
    return lambda bars: rolling(np.std, bars.returns, period)


def downside_volatility(period: int) -> Indicator:
    """Root mean square of the negative log returns."""
    return lambda bars: np.sqrt(rolling(np.mean, np.minimum(bars.returns, 0) ** 2, period))


def volatility_ratio(fast: int, slow: int) -> Indicator:
    """Logarithm of the fast over the slow volatility; 0 where either is nil."""

    def compare(bars: Bars) -> Values:
        quotient = ratio(rolling(np.std, bars.returns, fast), rolling(np.std, bars.returns, slow), otherwise=1.0)
        return np.log(np.where(quotient <= 0, 1.0, quotient))

    return compare


def parkinson(period: int) -> Indicator:
    """Volatility from the range of high and low (Parkinson 1980)."""
    scale = 1 / (4 * np.log(2))
    return lambda bars: np.sqrt(scale * rolling(np.mean, np.log(bars.high / bars.low) ** 2, period))


def garman_klass(period: int) -> Indicator:
    """Volatility from open, high, low and close (Garman and Klass 1980)."""

    def estimate(bars: Bars) -> Values:
        span, body = np.log(bars.high / bars.low), np.log(bars.close / bars.open)
        variance = rolling(np.mean, 0.5 * span**2 - (2 * np.log(2) - 1) * body**2, period)
        return np.sqrt(np.maximum(variance, 0))

    return estimate


def return_skewness(period: int) -> Indicator:
    """Skewness of the log returns."""
    return lambda bars: rolling(skewness, bars.returns, period)


def return_kurtosis(period: int) -> Indicator:
    """Kurtosis of the log returns."""
    return lambda bars: rolling(kurtosis, bars.returns, period)


def return_persistence(period: int) -> Indicator:
    """Autocorrelation of the log returns at lag 1."""
    return lambda bars: rolling(persistence, bars.returns, period)


def rising_share(period: int) -> Indicator:
    """Share of days with a higher close."""
    return lambda bars: rolling(np.mean, np.where(np.isnan(bars.returns), np.nan, bars.returns > 0), period)


def efficiency(period: int) -> Indicator:
    """Net move over the sum of daily moves (Kaufman), -1 to 1."""

    def compare(bars: Bars) -> Values:
        path = rolling(np.sum, np.abs(bars.returns), period)
        return ratio(change(np.log(bars.close), period), path)

    return compare


def regression_slope(period: int) -> Indicator:
    """Slope of the linear regression over `period`, a row, as a share of the close."""
    return lambda bars: talib.LINEARREG_SLOPE(bars.close, period) / bars.close


def regression_distance(period: int) -> Indicator:
    """Distance of the close from the end of the regression line, as a share of it."""
    return lambda bars: bars.close / talib.LINEARREG(bars.close, period) - 1


def below_high(period: int) -> Indicator:
    """Distance of the close from the highest high, as a share of it; at most 0."""
    return lambda bars: bars.close / rolling(np.max, bars.high, period) - 1


def above_low(period: int) -> Indicator:
    """Distance of the close from the lowest low, as a share of it; at least 0."""
    return lambda bars: bars.close / rolling(np.min, bars.low, period) - 1


def money_flow(period: int) -> Indicator:
    """Money flow index, 0 to 100: the share of rising typical prices in the money turned over."""

    def share(bars: Bars) -> Values:
        money, step = bars.typical * bars.volume, change(bars.typical, 1)
        rising = rolling(np.sum, np.where(np.isnan(step), np.nan, money * (step > 0)), period)
        falling = rolling(np.sum, np.where(np.isnan(step), np.nan, money * (step < 0)), period)
        return 100 * ratio(rising, rising + falling, otherwise=0.5)

    return share


def balance_volume(period: int) -> Indicator:
    """Change of the on-balance volume over `period`, as a share of the volume traded."""

    def share(bars: Bars) -> Values:
        signed = np.sign(bars.returns) * bars.volume
        return ratio(rolling(np.sum, signed, period), rolling(np.sum, bars.volume, period))

    return share


def accumulation(fast: int, slow: int) -> Indicator:
    """Chaikin's ADOSC in units of the mean volume of 20 rows."""

    def compare(bars: Bars) -> Values:
        oscillator = talib.ADOSC(bars.high, bars.low, bars.close, bars.volume, fast, slow)
        return ratio(oscillator, rolling(np.mean, bars.volume, 20))

    return compare


def chaikin_flow(period: int) -> Indicator:
    """Chaikin money flow: volume weighted by the close's place in its bar, -1 to 1."""

    def share(bars: Bars) -> Values:
        place = ratio(2 * bars.close - bars.high - bars.low, bars.high - bars.low)
        return ratio(rolling(np.sum, place * bars.volume, period), rolling(np.sum, bars.volume, period))

    return share


def force(period: int) -> Indicator:
    """Returns weighted by volume: their sum over the volume of `period`."""

    def share(bars: Bars) -> Values:
        pushed = rolling(np.sum, bars.returns * bars.volume, period)
        return ratio(pushed, rolling(np.sum, bars.volume, period))

    return share


def volume_weighted_distance(period: int) -> Indicator:
    """Distance of the close from the volume-weighted typical price (VWAP), as a share of it."""

    def compare(bars: Bars) -> Values:
        money = rolling(np.sum, bars.typical * bars.volume, period)
        return ratio(bars.close, ratio(money, rolling(np.sum, bars.volume, period)), otherwise=1.0) - 1

    return compare


def volume_ratio(fast: int, slow: int) -> Indicator:
    """Fast over slow mean volume, minus 1."""

    def compare(bars: Bars) -> Values:
        return ratio(rolling(np.mean, bars.volume, fast), rolling(np.mean, bars.volume, slow), otherwise=1.0) - 1

    return compare


def volume_variation(period: int) -> Indicator:
    """Standard deviation over mean of the volume."""
    return lambda bars: ratio(rolling(np.std, bars.volume, period), rolling(np.mean, bars.volume, period))


def overnight(bars: Bars) -> Values:
    """Log return from the last close to the open."""
    return np.log(bars.open) - lag(np.log(bars.close), 1)


def intraday(bars: Bars) -> Values:
    """Log return from the open to the close."""
    return np.log(bars.close / bars.open)


def bar_range(bars: Bars) -> Values:
    """Logarithm of high over low."""
    return np.log(bars.high / bars.low)


def close_place(bars: Bars) -> Values:
    """Place of the close between low and high, 0 to 1; 0.5 in a flat bar."""
    return ratio(bars.close - bars.low, bars.high - bars.low, otherwise=0.5)


def power_balance(period: int) -> Indicator:
    """Mean over `period` of the body of the bar over its range (balance of power), -1 to 1."""
    return lambda bars: rolling(np.mean, ratio(bars.close - bars.open, bars.high - bars.low), period)


def overnight_mean(period: int) -> Indicator:
    """Mean over `period` of the log return from the last close to the open."""
    return lambda bars: rolling(np.mean, overnight(bars), period)
