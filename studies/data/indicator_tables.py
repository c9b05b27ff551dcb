"""Which indicators a tier holds: tables of name and indicator, each adding to the ones above it."""

from collections.abc import Callable

import talib

from studies.data import indicator_families as family
from studies.data.bars import Values
from studies.data.indicator_families import Indicator

__all__ = ["A20", "ADDED_IN_A50", "ADDED_IN_A100", "ADDED_IN_A200", "Indicator"]


def _periods(name: str, indicator: Callable[[int], Indicator], *periods: int) -> dict[str, Indicator]:
    return {f"{name}_{period}": indicator(period) for period in periods}


def _distances(name: str, average: family.Average, *periods: int) -> dict[str, Indicator]:
    return {f"{name}_{period}": family.distance(average, period) for period in periods}


def _of_bars(
    name: str,
    function: Callable[[Values, Values, Values, int], Values],
    *periods: int,
) -> dict[str, Indicator]:
    return {f"{name}_{period}": family.of_bars(function, period) for period in periods}


def _pairs(name: str, indicator: Callable[[int, int], Indicator], *pairs: tuple[int, int]) -> dict[str, Indicator]:
    return {f"{name}_{fast}_{slow}": indicator(fast, slow) for fast, slow in pairs}


A20: dict[str, Indicator] = {
    **_distances("dema", talib.DEMA, 9, 10, 20, 25, 90),
    **_distances("sma", talib.SMA, 12, 50, 100, 200),
    "rsi_14": family.rsi(14),
    "rsi_weekly_14": family.rsi_weekly(14),
    "stochastic_rsi_14": family.stochastic_rsi(14),
    "stochastic_rsi_weekly_14": family.stochastic_rsi_weekly(14),
    "macd_12_26": family.macd_line(12, 26, 9),
    "balance_volume_20": family.balance_volume(20),
    "accumulation_3_10": family.accumulation(3, 10),
    "average_true_range_14": family.average_true_range(14),
    "adx_14": family.of_bars(talib.ADX, 14),
    "bollinger_place_20": family.bollinger_place(20),
    "volume_weighted_20": family.volume_weighted_distance(20),
}

ADDED_IN_A50: dict[str, Indicator] = {
    **_periods("return", family.log_return, 1, 2, 5, 10, 20, 60),
    "overnight": family.overnight,
    "intraday": family.intraday,
    "bar_range": family.bar_range,
    "close_place": family.close_place,
    **_periods("volatility", family.volatility, 5, 10, 20, 60),
    **_distances("ema", talib.EMA, 10, 50),
    **_periods("rsi", family.rsi, 7, 28),
    "macd_histogram_12_26": family.macd_histogram(12, 26, 9),
    "cci_20": family.of_bars(talib.CCI, 20),
    "williams_14": family.of_bars(talib.WILLR, 14),
    "money_flow_14": family.money_flow(14),
    "aroon_25": family.of_range(talib.AROONOSC, 25),
    "plus_di_14": family.of_bars(talib.PLUS_DI, 14),
    "minus_di_14": family.of_bars(talib.MINUS_DI, 14),
    "stochastic_14": family.stochastic(14),
    "bollinger_width_20": family.bollinger_width(20),
    "volume_ratio_1_20": family.volume_ratio(1, 20),
    "ultimate_oscillator_7": family.ultimate_oscillator(7),
    "chaikin_flow_20": family.chaikin_flow(20),
}

ADDED_IN_A100: dict[str, Indicator] = {
    **_periods("return", family.log_return, 3, 15, 40, 120, 250),
    "volatility_120": family.volatility(120),
    **_periods("parkinson", family.parkinson, 10, 20),
    "garman_klass_20": family.garman_klass(20),
    "downside_volatility_20": family.downside_volatility(20),
    **_periods("return_skewness", family.return_skewness, 20, 60),
    "return_kurtosis_60": family.return_kurtosis(60),
    **_distances("wma", talib.WMA, 10, 30),
    "tema_20": family.distance(talib.TEMA, 20),
    "trima_30": family.distance(talib.TRIMA, 30),
    "kama_20": family.distance(talib.KAMA, 20),
    "t3_10": family.distance(talib.T3, 10),
    **_periods("regression_slope", family.regression_slope, 10, 20, 60),
    "regression_distance_20": family.regression_distance(20),
    **_periods("rsi", family.rsi, 2, 5, 21, 50),
    **_of_bars("cci", talib.CCI, 10, 50),
    **_of_bars("williams", talib.WILLR, 5, 28, 60),
    **_periods("money_flow", family.money_flow, 7, 28),
    **_of_bars("adx", talib.ADX, 7, 28),
    "aroon_50": family.of_range(talib.AROONOSC, 50),
    **_periods("average_true_range", family.average_true_range, 5),
    "true_range_ratio_20": family.true_range_ratio(20),
    "bollinger_place_50": family.bollinger_place(50),
    "bollinger_width_50": family.bollinger_width(50),
    "macd_5_35": family.macd_line(5, 35),
    "trix_15": family.trix(15),
    **_pairs("volume_ratio", family.volume_ratio, (5, 20), (5, 60)),
    **_periods("balance_volume", family.balance_volume, 5, 60),
    "chaikin_flow_60": family.chaikin_flow(60),
    "volume_weighted_60": family.volume_weighted_distance(60),
    "volatility_ratio_5_20": family.volatility_ratio(5, 20),
}

ADDED_IN_A200: dict[str, Indicator] = {
    **_periods("return", family.log_return, 4, 7, 30, 90, 180),
    **_distances("sma", talib.SMA, 5, 20, 30, 150, 250),
    **_distances("ema", talib.EMA, 5, 20, 100, 200),
    **_distances("wma", talib.WMA, 5, 50, 100),
    **_distances("dema", talib.DEMA, 50, 120),
    **_distances("tema", talib.TEMA, 10, 50),
    **_distances("kama", talib.KAMA, 50),
    **_distances("trima", talib.TRIMA, 60, 120),
    **_distances("t3", talib.T3, 20),
    **_periods("volatility", family.volatility, 30, 250),
    **_periods("parkinson", family.parkinson, 5, 60, 120),
    **_periods("garman_klass", family.garman_klass, 5, 60),
    **_periods("downside_volatility", family.downside_volatility, 10, 60),
    **_pairs("volatility_ratio", family.volatility_ratio, (10, 60), (20, 120), (60, 250)),
    **_periods("return_skewness", family.return_skewness, 120, 250),
    **_periods("return_kurtosis", family.return_kurtosis, 20, 120),
    **_periods("return_persistence", family.return_persistence, 20, 60, 120),
    **_periods("rising_share", family.rising_share, 10, 20, 60),
    **_periods("efficiency", family.efficiency, 10, 20, 60),
    **_periods("regression_slope", family.regression_slope, 5, 40, 120),
    **_periods("regression_distance", family.regression_distance, 10, 60),
    **_periods("below_high", family.below_high, 20, 60, 120, 250),
    **_periods("above_low", family.above_low, 20, 60, 120, 250),
    **_periods("rsi", family.rsi, 3, 10, 100),
    **_periods("rsi_weekly", family.rsi_weekly, 5, 9),
    "stochastic_rsi_28": family.stochastic_rsi(28),
    **_of_bars("cci", talib.CCI, 5, 100),
    **_of_bars("williams", talib.WILLR, 120),
    **_periods("stochastic", family.stochastic, 5, 60),
    "money_flow_60": family.money_flow(60),
    "adx_50": family.of_bars(talib.ADX, 50),
    **_of_bars("dx", talib.DX, 14),
    **_of_bars("plus_di", talib.PLUS_DI, 7, 28),
    **_of_bars("minus_di", talib.MINUS_DI, 7, 28),
    "aroon_100": family.of_range(talib.AROONOSC, 100),
    "ultimate_oscillator_14": family.ultimate_oscillator(14),
    "average_true_range_60": family.average_true_range(60),
    "true_range_ratio_60": family.true_range_ratio(60),
    "macd_20_60": family.macd_line(20, 60),
    "macd_histogram_5_35": family.macd_histogram(5, 35),
    **_pairs("percentage_oscillator", family.percentage_oscillator, (10, 50), (50, 200)),
    **_periods("bollinger_place", family.bollinger_place, 10, 100),
    "bollinger_width_100": family.bollinger_width(100),
    **_pairs("volume_ratio", family.volume_ratio, (1, 5), (20, 120)),
    "volume_variation_20": family.volume_variation(20),
    **_periods("force", family.force, 2, 13),
    "chaikin_flow_10": family.chaikin_flow(10),
    "power_balance_14": family.power_balance(14),
    "overnight_mean_20": family.overnight_mean(20),
}
