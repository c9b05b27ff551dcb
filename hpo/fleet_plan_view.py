"""A fleet's plan in tables of at most 80 columns."""

from collections import Counter

from rich.console import Console
from rich.table import Table

from budgets.placement import SERVER_BYTES, Limit, usable_ram
from hpo.fleet_plan import DEFAULT_SEARCH, FleetPlan
from hpo.output import count

_GIB = 2**30


def print_plan(plan: FleetPlan) -> None:
    """Print the machine, what a trial needs, how many workers fit and why, the mix, and the pace."""
    console = Console(highlight=False)
    console.print(_for_line(plan), *_machine_lines(plan), sep="\n")
    console.print("", _sizes_table(plan), "", sep="\n")
    console.print(_process_lines(plan), style="dim")
    console.print("", "workers that fit when each may train the largest", _limits_table(plan), sep="\n")
    console.print("", *_verdict(plan), *_mix_lines(plan), *_pace_lines(plan), sep="\n")


def _for_line(plan: FleetPlan) -> str:
    if plan.studies == (DEFAULT_SEARCH,):
        return "for a study of all budgets as it is by default, since none is open"
    return f"for {', '.join(plan.studies)}"


def _machine_lines(plan: FleetPlan) -> list[str]:
    machine = plan.machine
    lines = [f"{count(machine.cores, 'core')}, {_gib(machine.total_bytes)} RAM, {_gib(machine.available_bytes)} free"]
    for number, card in enumerate(machine.cards):
        used = f", {_gib(card.used_bytes)} used by others" if card.used_bytes else ""
        lines.append(f"GPU {number}: {card.name}, {_gib(card.total_bytes)}{used}")
    if machine.cards and machine.mps:
        lines.append("MPS runs: workers on a GPU compute at once")
    elif machine.cards:
        lines.append("workers on a GPU take turns; `nvidia-cuda-mps-control -d` lets them compute at once")
    else:
        lines.append("no GPU that this torch can use: RAM and cores are planned")
    lines.append(
        f"{plan.head_room:.0%} of that is planned with; of RAM, {_gib(SERVER_BYTES)} are the server that all share"
    )
    if plan.at_work:
        process = "process of workers" if plan.at_work == 1 else "processes of workers"
        lines.append(f"the memory of {plan.at_work} {process} here now counts as free")
    return lines


def _sizes_table(plan: FleetPlan) -> Table:
    on_cards = bool(plan.machine.cards)
    table = _table("a trial of", "micro-batch", "model", "activations", "rest", "RAM", *(["GPU"] if on_cards else []))
    for size in plan.sizes:
        parts = size.estimate
        model = activations = rest = "not counted"
        if parts is not None:
            held = parts.weights + parts.gradients + parts.optimizer
            model, activations = _gib(held), _gib(parts.activations)
            rest = _gib(parts.total - held - parts.activations)
        cells = [str(size.micro_batch), model, activations, rest, _gib(size.demand.ram_bytes)]
        table.add_row(size.demand.name, *cells, *([_gib(size.demand.card_bytes)] if on_cards else []))
    return table


def _process_lines(plan: FleetPlan) -> str:
    known = plan.calibration
    source = f"the median of {count(known.trials, 'finished trial')}" if known.trials else "no trial has told yet"
    return (
        "model: weights, gradients, AdamW; rest: buffers, the data and the process\n"
        f"process: {known.process_bytes / 2**20:.0f} MiB a trial, {source}"
    )


def _limits_table(plan: FleetPlan) -> Table:
    table = _table("limit", "workers", "available", "a worker", "")
    for number, limit in enumerate(plan.limits):
        table.add_row(
            limit.resource,
            str(limit.workers),
            _amount(limit, limit.available),
            _amount(limit, limit.a_worker),
            "binds" if number == 0 else "",
        )
    return table


def _verdict(plan: FleetPlan) -> list[str]:
    threads = count(plan.threads, "thread")
    binding = plan.limits[0].resource
    binds = "the cores bind" if binding == "cores" else f"{binding} binds"
    line = f"{count(plan.workers, 'worker')} with {threads} each: {binds}"
    if plan.workers > plan.fitting > 0:
        line = f"{count(plan.workers, 'worker')} with {threads} each: {plan.workers - plan.fitting} more than fit"
    if plan.fitting == 0:
        line = (
            f"{count(plan.workers, 'worker')} with {threads} each, but {plan.sizes[0].demand.name} fits not even once"
        )
        line += "\n(half the micro-batch, fewer budgets, or a larger machine)"
    return [line]


def _mix_lines(plan: FleetPlan) -> list[str]:
    """Return what fits beside each other."""
    same = Counter((place.sizes[0], place.card, place.ram_bytes) for place in plan.placement.places)
    lines = ["", "side by side (a trial that finds no room waits for it):"]
    for (largest, card, ram), times in same.items():
        where = "" if card is None else f" on GPU {card}"
        smaller = " and smaller" if largest != plan.sizes[-1].demand.name else ""
        lines.append(f"  {count(times, 'worker')}{where} for {largest}{smaller}, {_gib(ram)} RAM each")
    if not plan.placement.places:
        lines.append("  none fits")
    if plan.placement.left_out:
        lines.append(f"  {', '.join(plan.placement.left_out)} fits not even alone")
    used = sum(place.ram_bytes for place in plan.placement.places)
    lines.append(f"  {_gib(used)} of {_gib(usable_ram(plan.machine, plan.head_room))} RAM in use")
    return lines


def _pace_lines(plan: FleetPlan) -> list[str]:
    if not any(size.demand.trials for size in plan.sizes):
        return ["", "no trial is left to do: `hpo resume STUDY --trials N` allows more"]
    if plan.an_hour is None or plan.an_hour_with_fewer is None:
        return ["", "trials an hour: unknown until trials have finished"]
    ended = sum(size.ended for size in plan.sizes)
    lost = plan.an_hour - plan.an_hour_with_fewer
    cost = f"{_three_digits(lost)} fewer" if lost > 0 else "none: the others get their threads"
    return [
        "",
        f"trials an hour: {_three_digits(plan.an_hour)} at most, measured on {count(ended, 'finished trial')}",
        f"two workers fewer cost: {cost}",
    ]


def _three_digits(value: float) -> str:
    return f"{float(f'{value:.3g}'):,g}"


def _amount(limit: Limit, value: int) -> str:
    return str(value) if limit.resource == "cores" else _gib(value)


def _gib(value: int) -> str:
    return f"{value / _GIB:.1f} GiB" if value >= _GIB / 10 else f"{value / 2**20:.0f} MiB"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
