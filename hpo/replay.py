"""`hpo replay`: one ensemble, or two side by side, over the same bars."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Question:
    """What `hpo replay` is asked.

    Attributes:
        first: date of the first decision.
        last: date of the last one; None: the last of the prices.
        threshold: None: the base rate of an ensemble's train part.
    """

    prices: Path
    first: str
    last: str | None
    threshold: float | None
    cost: float


def caution(first: str, validation_until: str, prices_until: str) -> str:
    """Return what the first date of a replay means for its worth; empty where the study has seen none of them."""
    day = first[:10]
    if day <= validation_until:
        return f"trained and selected on prices up to {validation_until}; what it says of them is no test"
    if day <= prices_until:
        return (
            f"up to {prices_until} these are the study's test part; `hpo report --final` can't know of this look, and "
            "each makes it less of a test"
        )
    return ""


def run_replay(
    directories: Sequence[Path], question: Question, show: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """Replay the prices to every ensemble; return what came of each.

    Args:
        directories: of the ensembles.
        question: over which prices and by which rule.
        show: called with every bar of every ensemble as it comes.

    Raises:
        InputError: an ensemble, the prices or a date can't be used; nothing has been shown then.
    """
    from studies.data.history import History
    from studies.data.prices import load_prices
    from studies.predict import decisions_between, format_date
    from studies.prediction import open_predictor
    from studies.replay import TradingRule, judge, replay

    table, origin = load_prices(question.prices), str(question.prices)
    ready = []
    for directory in directories:
        predictor = open_predictor(directory)
        history = History.of(table, predictor.series)
        decisions = decisions_between(history, question.first, question.last, origin)
        predictor.check_enough(history, decisions.start, origin)
        ready.append((directory, predictor, history, decisions))
    outcomes = []
    for directory, predictor, history, decisions in ready:
        bars = []
        for bar in replay(predictor, history, decisions):
            found = dict(zip(predictor.series, map(float, bar.probabilities), strict=True))
            row = {"ensemble": str(directory), "ds": format_date(bar.date), "probabilities": found}
            show({**row, "several": len(ready) > 1})
            bars.append(bar)
        # Of two ensembles each is measured alone.
        predictor.forget()
        file = predictor.file
        threshold = file.input.base_rate if question.threshold is None else question.threshold
        outcome = judge(predictor, history, decisions, bars, TradingRule(threshold, question.cost))
        facts = {"ensemble": str(directory), "study": file.study, "members": len(file.used_members)}
        days = {"first": format_date(bars[0].date), "last": format_date(bars[-1].date), "bars": len(bars)}
        seen = {"validation_until": file.input.validation_until, "prices_until": file.input.prices_until}
        worth = {"caution": caution(format_date(bars[0].date), file.input.validation_until, file.input.prices_until)}
        outcomes.append({**facts, **days, **seen, **worth, **outcome.as_json()})
    return outcomes
