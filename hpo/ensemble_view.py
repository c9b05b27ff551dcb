"""An ensemble and a replay in tables of at most 80 columns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_MIB = 2**20


def print_ensemble(content: dict[str, Any], out: Path) -> None:
    """Print members, what they are worth together, what their number costs, and what to type next."""
    console = Console(highlight=False)
    console.print(f"{out}: {len(content['members'])} members of {content['study']}, used by: {content['used']}\n")
    console.print(_members(content), "", _selections(content), "", _sizes(content), "", sep="\n")
    for each in content["missing"]:
        console.print(f"missing: {each['study']}#{each['trial']} ({each['score']:.4f}): {each['why']}", style="yellow")
    given, agreement = content["input"], content["agreement"]
    console.print(
        f"A prediction needs {given['history_rows']} rows a series. Probabilities from so many rows differ from those "
        f"of training by at most {agreement['largest_difference']:.1e} at {agreement['decisions']} validation "
        "decisions. All scores here are of the validation part, which the search has selected on.\n"
        f"python -m studies.predict {out} prices.csv",
        markup=False,
    )


def _members(content: dict[str, Any]) -> Table:
    table = _table("member", "configuration", "AUC", "95 %", "params", *(f"share {name}" for name in _methods(content)))
    for place, each in enumerate(content["members"]):
        interval = f"{each['auc_low']:.3f}–{each['auc_high']:.3f}"
        shares = [f"{each['shares'].get(name, 0.0):.0%}" for name in _methods(content)]
        name = f"{each['study']}#{each['trial']}"
        table.add_row(
            f"{place:02d}", name, f"{each['score']:.4f}", interval, f"{each['parameters'] / 1e6:.2f}M", *shares
        )
    return table


def _methods(content: dict[str, Any]) -> list[str]:
    asked = content["asked"]["method"]
    return ["top", "greedy"] if asked == "both" else [asked]


def _selections(content: dict[str, Any]) -> Table:
    table = _table("together", "members", "AUC", "95 %", "log loss", "unseen half")
    for name, each in content["selections"].items():
        scores, half = each["scores"], content["half_split"]
        interval = f"{scores['auc_low']:.3f}–{scores['auc_high']:.3f}"
        unseen = f"{half[name]['auc']:.4f}" if half else "-"
        table.add_row(name, str(each["members"]), f"{scores['auc']:.4f}", interval, f"{scores['log_loss']:.4f}", unseen)
    return table


def _sizes(content: dict[str, Any]) -> Table:
    table = _table("N", "AUC top", "greedy", "loss top", "greedy", "params", "disk", "memory", "a bar")
    for row in content["sizes"]:
        scores = [f"{row[name][key]:.4f}" for key in ("auc", "log_loss") for name in ("top", "greedy")]
        costs = ["-"] * 4
        if "resident_mb" in row:
            costs = [f"{row['parameters'] / 1e6:.1f}M", f"{row['bytes'] / _MIB:.0f} MB"]
            costs += [f"+{row['added_mb']:.0f} MB", f"{row['seconds'] * 1000:.0f} ms"]
        table.add_row(str(row["n"]), *scores, *costs)
    return table


def print_outcomes(outcomes: Sequence[dict[str, Any]]) -> None:
    """Print what replays came to, a column an ensemble."""
    console, first = Console(highlight=False), outcomes[0]
    console.print(f"\n{first['bars']} bars from {first['first']} to {first['last']}")
    table = _table("", *(each["ensemble"] for each in outcomes))
    for name, cell in _ROWS:
        table.add_row(name, *(cell(each) for each in outcomes))
    console.print(table)
    for each in outcomes:
        if each["caution"]:
            console.print(f"{each['ensemble']}: {each['caution']}", style="yellow", markup=False)


def _auc(each: dict[str, Any]) -> str:
    return "-" if each["auc"] is None else f"{each['auc']:.4f} ({each['auc_low']:.3f}–{each['auc_high']:.3f})"


def _memory(each: dict[str, Any]) -> str:
    found = each["resident_mb"]
    return f"{found['last_bar']:.0f} MB, {found['since_first_bar']:+.0f} since the first bar"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


_ROWS = (
    ("members", lambda each: str(each["members"])),
    ("AUC (95 %)", _auc),
    ("long from", lambda each: f"{each['threshold']:.4f}"),
    ("long calls", lambda each: f"{each['calls']} of {each['judged']}"),
    ("of them right", lambda each: f"{_number(each['hit_rate'], '.1%')}, of all {each['base_rate']:.1%}"),
    ("Sharpe a year", lambda each: f"{_number(each['rule']['sharpe'], '.2f')} at {each['cost']:g} costs"),
    ("  holding", lambda each: f"{_number(each['buy_and_hold']['sharpe'], '.2f')}"),
    ("return", lambda each: f"{each['rule']['total_return']:+.1%}"),
    ("  holding", lambda each: f"{each['buy_and_hold']['total_return']:+.1%}"),
    ("trades", lambda each: str(each["rule"]["trades"])),
    ("held", lambda each: f"{each['rule']['exposure']:.0%} of {each['bars_a_year']:.0f} bars a year"),
    ("time a bar", lambda each: f"{each['seconds_a_bar']['median'] * 1000:.0f} ms"),
    ("memory", _memory),
)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < 2 else "right")
    return table
