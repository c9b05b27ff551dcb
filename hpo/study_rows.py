"""What commands print of a study before it runs: its forced configurations, what it costs, what Phase 2 would make."""

from collections.abc import Sequence
from typing import Any

from hpo.control import Control
from studies.declaration import Derived, Design, Prepared, architecture_values, declare, derive
from studies.spaces import describe
from studies.spec import Spec


def supplement_row(control: Control, spec: Spec, history: Sequence[object]) -> dict[str, Any]:
    """Return a study of Phase 2 as `hpo phase2 --json` shows it."""
    stored, declaration = control.study(spec.name), declare(spec)
    rules = None if stored is None else stored.prepared["derived"]
    prepared = Prepared(architecture_values(spec) if rules is None else tuple(Derived(**rule) for rule in rules))
    return {
        "name": spec.name,
        "budget": spec.budgets[0],
        "forced": [forced_row(design, prepared) for design in declaration.forced],
        "imported": len(history),
        "cap": spec.trials if stored is None else stored.cap,
        "exists": stored is not None,
        "space": {name: describe(distribution) for name, distribution in declaration.space.items()},
    }


def forced_row(design: Design, prepared: Prepared) -> dict[str, Any]:
    """Return a forced configuration with its derived values, as `hpo run --dry-run --json` shows it."""
    derived = derive(design.params, prepared.derived)
    return {
        "id": design.id,
        "name": design.name,
        "group": design.group,
        **design.params,
        "exact_params": None,
        **derived,
    }


def cost(
    spec: Spec, prepared: Prepared, forced: Sequence[dict[str, Any]], speed: float | None
) -> dict[str, Any] | None:
    """Return operations of the whole study and how long a plain matrix product of this machine takes for them."""
    all_flops = [rule.values["flops"] for rule in prepared.derived if "flops" in rule.values]
    if not all_flops or speed is None:
        return None
    forced_flops = sum(row["flops"] for row in forced)
    sampled_flops = (spec.trials - len(forced)) * sum(all_flops) / len(all_flops)
    return {
        "forced_flops": forced_flops,
        "sampled_flops": round(sampled_flops),
        "machine_flops_per_second": round(speed),
        "least_hours": round((forced_flops + sampled_flops) / speed / 3600, 3),
    }
