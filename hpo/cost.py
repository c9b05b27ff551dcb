"""What a search costs at the least."""

from typing import Any

from studies.declaration import Prepared, declare, derive
from studies.spec import Spec


def least_cost(spec: Spec, prepared: Prepared, speed: float | None) -> dict[str, Any] | None:
    """Return operations of the whole study and how long a plain matrix product of this machine takes for them.

    Args:
        spec: of the study.
        prepared: with the operations of its trials.
        speed: operations a second that were measured; None where nobody did.
    """
    all_flops = [rule.values["flops"] for rule in prepared.derived if "flops" in rule.values]
    if not all_flops or speed is None:
        return None
    forced = [derive(design.params, prepared.derived)["flops"] for design in declare(spec).forced]
    sampled_flops = (spec.trials - len(forced)) * sum(all_flops) / len(all_flops)
    return {
        "forced_flops": sum(forced),
        "sampled_flops": round(sampled_flops),
        "machine_flops_per_second": round(speed),
        "least_hours": round((sum(forced) + sampled_flops) / speed / 3600, 3),
    }
