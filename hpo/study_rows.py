"""What commands print of a study before it runs: its forced configurations, and what Phase 2 would make."""

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
