"""Looking at a study before its first trial: what it resolves to, and what the rules say to it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from budgets.errors import InputError
from budgets.memory import MIB
from budgets.placement import HEAD_ROOM, usable_card, usable_ram
from hpo.cost import least_cost
from hpo.errors import PreflightError
from hpo.fork_server import ForkServer, call
from hpo.machine import own_processes, read_cards, read_machine
from hpo.service import Service, open_existing
from hpo.settings import Settings
from hpo.trial_memory import check_limit
from studies.declaration import Derived, Prepared, architecture_values, declare, derive
from studies.memory import MOST_WINDOWS_ON_A_CPU, Allowance, fit_micro_batches
from studies.preflight import (
    Change,
    Finding,
    Level,
    Model,
    Resolved,
    check,
    compare_with_baseline,
    resolve,
    resolve_trial,
)
from studies.preflight.resolved import Known
from studies.reading import read_spec
from studies.spec import Spec

# Trials are numbered in 32 bits.
_LAST_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class Preflight:
    """What a look at a study found.

    Attributes:
        study: with every value explicit.
        findings: errors first.
        allowance: what one trial may have here.
        baseline: what it was compared with.
        changes: what differs from that.
    """

    study: Resolved
    findings: tuple[Finding, ...]
    allowance: Allowance
    baseline: Resolved | None = None
    changes: tuple[Change, ...] = ()

    def of(self, level: Level) -> tuple[Finding, ...]:
        """Return the findings of one level."""
        return tuple(finding for finding in self.findings if finding.level is level)

    def blocks(self, *, strict: bool) -> bool:
        """Return whether the study should not be run as it is."""
        return bool(self.of(Level.ERROR)) or (strict and bool(self.of(Level.WARNING)))

    def memory_mb(self, model: Model) -> float | None:
        """Return what a trial of this model needs of the allowance, in MiB; None where it is unknown."""
        estimate = model.memory(model.plan, self.study.data_bytes)
        return None if estimate is None else round(self.allowance.needed_mb(estimate), 1)

    def as_json(self, *, strict: bool) -> dict[str, Any]:
        """Return the object that `hpo check --json` prints."""
        return {
            "study": self.study.name,
            "ok": not self.blocks(strict=strict),
            "strict": strict,
            "errors": len(self.of(Level.ERROR)),
            "warnings": len(self.of(Level.WARNING)),
            "findings": [finding.as_json() for finding in self.findings],
            "baseline": self.baseline.name if self.baseline else None,
            "changes": [change.as_json() for change in self.changes],
            "metric": self.study.metric,
            "models": [{**model.as_json(), "memory_mb": self.memory_mb(model)} for model in self.study.models],
            "memory_limit_mb": round(self.allowance.limit_mb),
            "least_hours": self.study.hours,
            "values": dict(self.study.values),
        }


def examine(
    spec: Spec,
    settings: Settings,
    storage_url: str | None,
    baseline: str | None,
    working: Callable[[str], AbstractContextManager[None]],
) -> Preflight:
    """Look at a study, and at what differs from a baseline; nothing is written.

    Args:
        spec: of the study.
        settings: of this machine.
        storage_url: where the baseline is, if it is a trial.
        baseline: a built-in study, a YAML file, or STUDY#TRIAL of the storage.
        working: shows that something takes a while.

    Raises:
        InputError: there is no such baseline.
    """
    compare_with = None if baseline is None else _baseline(baseline, settings, storage_url)
    with ForkServer(declare(spec).preload) as server:
        with working("loading"):
            server.wait_until_ready()
        with working("reading the data"):
            allowance = allowance_of(settings, server)
            known, refused = _known(server, spec, allowance)
    study = resolve(spec, known)
    compared = None if compare_with is None else compare_with(known.precision)
    changes, differences = compare_with_baseline(study, compared) if compared else ((), ())
    findings = (*refused, *differences, *check(study, allowance))
    ordered = tuple(sorted(findings, key=lambda finding: list(Level).index(finding.level)))
    return Preflight(study, ordered, allowance, compared, changes)


def look_at_plan(
    spec: Spec, prepared: Prepared, allowance: Allowance, cost: Mapping[str, Any] | None
) -> tuple[str, ...]:
    """Apply all rules, and return what a run here would say; a run elsewhere may have more memory.

    Raises:
        PreflightError: an error that needs no data to be seen, and is one on any machine.
    """
    look_before_preparing(spec)
    fitted = fit_micro_batches(spec, prepared, allowance)
    found = check(resolve(spec, Known(fitted.derived, fitted.sizes, _hours(cost))), allowance)
    refused = "a run here is refused: "
    return tuple(f"{refused * (each.level is Level.ERROR)}{each.message} [{each.rule}]" for each in found)


def look_before_preparing(spec: Spec) -> tuple[Finding, ...]:
    """Apply the rules that need no data.

    Raises:
        PreflightError: one of them finds an error.
    """
    return _passed(spec, check(resolve(spec, Known(architecture_values(spec)))))


def look_ahead(spec: Spec) -> None:
    """Refuse both phases where the second would be refused, before days are spent on the first.

    Raises:
        PreflightError: a rule notes so, or finds an error.
    """
    for finding in look_before_preparing(spec):
        if finding.level is Level.NOTE:
            raise PreflightError(f"{spec.name}: {finding.message} [{finding.rule}]; or leave --then-phase2 out")


def look_when_prepared(
    spec: Spec,
    prepared: Prepared,
    allowance: Allowance,
    earlier: Sequence[Finding],
    cost: Mapping[str, Any] | None = None,
) -> tuple[Prepared, tuple[Finding, ...]]:
    """Choose micro-batches that fit, and apply all rules; return what was not found earlier.

    Raises:
        PreflightError: one of them finds an error.
    """
    fitted = fit_micro_batches(spec, prepared, allowance)
    seen = {(finding.rule, finding.value) for finding in earlier}
    found = _passed(spec, check(resolve(spec, Known(fitted.derived, fitted.sizes, _hours(cost))), allowance))
    return fitted, tuple(finding for finding in found if (finding.rule, finding.value) not in seen)


def allowance_of(settings: Settings, server: ForkServer, workers: int | None = None) -> Allowance:
    """Return what one trial may have on this machine.

    Args:
        settings: of this machine.
        server: that trials come from.
        workers: that share the memory; None: as many as will fit.
    """
    start = call(server.address, "hpo.trial_memory:measure_start")
    most_windows = None if read_cards() else MOST_WINDOWS_ON_A_CPU
    if settings.trial_memory_mb is not None:
        return Allowance(settings.trial_memory_mb, "HPO_TRIAL_MEMORY_MB", start, most_windows=most_windows)
    machine, among = read_machine(own=own_processes()), max(1, workers or 1)
    share = f"{HEAD_ROOM:.0%}" + (f" / {among} workers" if among > 1 else "")
    if machine.cards:
        smallest = min(map(usable_card, machine.cards))
        return Allowance(smallest / MIB / among, f"{share} of the smallest GPU", on_card=True)
    empty = replace(machine, available_bytes=machine.total_bytes)
    free, most = (start + usable_ram(each) / MIB / among for each in (machine, empty))
    return Allowance(free, f"{share} of the RAM that is free", start, most_mb=most, most_windows=most_windows)


def check_limit_of_trials(settings: Settings, server: ForkServer) -> None:
    """Raise InputError where this machine's limit lets no trial begin; every one would count as one that never fits."""
    if settings.trial_memory_mb is not None:
        check_limit(settings.trial_memory_mb, call(server.address, "hpo.trial_memory:measure_start"))


def _passed(spec: Spec, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    errors = [finding for finding in findings if finding.level is Level.ERROR]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        # A study of Phase 2 is in the storage alone, where hpo check does not look.
        all_of_them = "" if spec.supplementary else "`hpo check` shows all, "
        raise PreflightError(
            f"{spec.name}: {errors[0].message} [{errors[0].rule}]{more}; {all_of_them}"
            f"`hpo check --explain {errors[0].rule}` why"
        )
    return tuple(findings)


def _baseline(name: str, settings: Settings, storage_url: str | None) -> Callable[[str | None], Resolved]:
    """Find what a study is compared with; return what resolves it, given what precision `auto` is here.

    Shapes and batches follow by arithmetic alone, so neither data nor torch is needed.
    """
    study, hash_sign, number = name.rpartition("#")
    if not hash_sign or Path(name).is_file():
        spec = read_spec(name)
        return lambda precision: resolve(spec, Known(architecture_values(spec), precision=precision))
    if not study or not (number.isascii() and number.isdecimal()):
        raise InputError(f"a trial of a study is STUDY#NUMBER, not {name!r}: such as quickstart#7")
    with open_existing(settings, storage_url, study) as service:
        return _stored_trial(service, study, int(number))


def _stored_trial(service: Service, study: str, number: int) -> Callable[[str | None], Resolved]:
    found = service.find(study)
    trial = service.control.trial(study, number) if number <= _LAST_NUMBER else None
    if trial is None:
        last = max((each.number for each in service.control.trials(study)), default=None)
        have = "no trials yet" if last is None else f"trials 0 to {last}"
        raise InputError(f"study {study} has {have}, not {number}: take one that is there")
    derived = tuple(Derived(**rule) for rule in found.prepared.get("derived", ()))
    # Of what a trial measured nothing counts: only what it was given.
    names = {name for rule in derived for name in rule.values}
    given = {name: value for name, value in trial.attributes.items() if name in names}
    values = {**trial.params, **derive(trial.params, derived), **given}
    spec, used = Spec.model_validate(found.spec), trial.attributes.get("precision")
    return lambda precision: resolve_trial(spec, Known(derived, precision=used or precision), number, values)


def _known(server: ForkServer, spec: Spec, allowance: Allowance) -> tuple[Known, tuple[Finding, ...]]:
    """Return what the preparation finds out, or what it refuses; the rest is then looked at without the data."""
    try:
        prepared: Prepared = call(server.address, "hpo.trial:prepare", declare(spec).preparation, spec, None)
    except InputError as error:
        rule, _, remedy = str(error).rpartition(": ")
        known = Known(architecture_values(spec), precision=_precision(server, spec))
        return known, (Finding("data", Level.ERROR, rule, "", remedy),)
    prepared = fit_micro_batches(spec, prepared, allowance)
    return Known(
        prepared.derived, prepared.sizes, _hours(cost_here(server, spec, prepared)), _precision(server, spec)
    ), ()


def cost_here(server: ForkServer, spec: Spec, prepared: Prepared) -> dict[str, Any] | None:
    """Return what the whole search takes here at the least; None where nothing is known of its cost."""
    speed = call(server.address, "studies.cost:measure_speed") if spec.uses_prices else None
    return least_cost(spec, prepared, speed)


def _hours(cost: Mapping[str, Any] | None) -> float | None:
    return None if cost is None else cost["least_hours"]


def _precision(server: ForkServer, spec: Spec) -> str | None:
    if not spec.uses_prices:
        return None
    found: str = call(server.address, "studies.cost:precision_here", spec.training.precision)
    return found
