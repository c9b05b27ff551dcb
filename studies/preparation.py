"""Getting a study ready, in a process of its own: read the data once, count the models, import the objective."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from budgets import STYLES, Architecture
from studies.baseline import baseline_name, baseline_scores
from studies.data.examples import load_example
from studies.data.panel import Panel, build_panel, load_panel, panel_fingerprint, save_panel
from studies.data.prices import PriceTable, load_prices
from studies.declaration import Derived, Prepared, architecture_values, cache_directory
from studies.errors import DataError
from studies.families import FAMILIES, WindowShape
from studies.memory import count_footprints, panel_bytes
from studies.objective import resolve
from studies.spec import Spec


def prepare_callable(spec: Spec, _home: Path | None, *, keep: bool = True) -> Prepared:  # noqa: ARG001
    """Import the study's own objective, so that a wrong name is found before anything is written."""
    resolve(spec.objective)
    return Prepared(derived=architecture_values(spec))


def prepare_prices(spec: Spec, home: Path | None, *, keep: bool = True) -> Prepared:
    """Build the windows of a price study, once a machine, and count its models exactly.

    Without a home, or where they are not to be kept, the windows are built in memory and nothing is written.

    Raises:
        DataError: the prices cannot be used for this study.
    """
    from studies.precision import resolve_precision

    fingerprint, panel = _ensure_panel(spec, home, keep=keep)
    # All trials of a study are trained alike, whatever machine they get to.
    precision = Derived({}, {"precision": resolve_precision(spec.training.precision)})
    derived = [precision, *architecture_values(spec), *_sizes(spec, window_shape(panel))]
    sizes = {
        "panel": fingerprint,
        "baseline": _baseline(panel),
        "footprints": count_footprints(spec, window_shape(panel)),
        "data_bytes": panel_bytes(len(panel.dates), window_shape(panel)),
        **_describe(panel),
    }
    return Prepared(tuple(derived), panel.notices, sizes)


def check_callable(spec: Spec, _sizes: Mapping[str, Any], _home: Path) -> None:
    """Raise SpecError where the study's own objective can't be imported."""
    resolve(spec.objective)


def check_prices(spec: Spec, sizes: Mapping[str, Any], home: Path) -> None:
    """Raise DataError where this machine has not the prices that the study was made with."""
    open_panel(spec, home, sizes["panel"])


def open_panel(spec: Spec, home: Path, fingerprint: str) -> Panel:
    """Return the study's panel, memory-mapped; it is built first where this machine has none yet.

    Raises:
        DataError: the prices on this machine are not those that the study was made with.
    """
    directory = _panel_directory(home, fingerprint)
    if directory.is_dir():
        return load_panel(directory)
    found, panel = _ensure_panel(spec, home)
    if found != fingerprint:
        raise DataError(
            f"the prices of study {spec.name} have changed since it was made (content {fingerprint[:12]}, now "
            f"{found[:12]}): restore them, or begin a study under another name"
        )
    return panel


def window_shape(panel: Panel) -> WindowShape:
    """Return the size of one training window."""
    return WindowShape(panel.window, panel.horizon, len(panel.series), len(panel.feature_names))


def _sizes(spec: Spec, shape: WindowShape) -> list[Derived]:
    """Return exact parameters and operations of a whole trial, wherever they follow from the parameters."""
    if spec.supplementary is not None:
        return _supplementary_sizes(spec, shape)
    rules = []
    for budget in spec.budgets:
        for style in STYLES:
            architecture = spec.architecture(budget, style)
            values = {
                "exact_params": FAMILIES[spec.model].exact_parameters(architecture, shape),
                "flops": _trial_flops(spec, architecture, shape, spec.training.effective_batch),
            }
            rules.append(Derived({"budget": budget, "style": style}, values))
    return rules


def _supplementary_sizes(spec: Spec, shape: WindowShape) -> list[Derived]:
    assert spec.supplementary is not None
    fixed = spec.architecture(spec.budgets[0], spec.supplementary.style)
    values, rules = architecture_values(spec), []
    batches = [rule for rule in values if "effective_batch_log2" in rule.when]
    for heads in (rule for rule in values if "n_heads_log2" in rule.when):
        architecture = replace(fixed, n_heads=heads.values["n_heads"])
        exact = FAMILIES[spec.model].exact_parameters(architecture, shape)
        rules.append(Derived(heads.when, {"exact_params": exact}))
        for batch in batches:
            flops = _trial_flops(spec, architecture, shape, batch.values["effective_batch"])
            rules.append(Derived({**heads.when, **batch.when}, {"flops": flops}))
    return rules


def _trial_flops(spec: Spec, architecture: Architecture, shape: WindowShape, effective_batch: int) -> int:
    a_window = FAMILIES[spec.model].training_flops(architecture, shape)
    return a_window * effective_batch * spec.training.max_steps


def _baseline(panel: Panel) -> dict[str, Any]:
    scores = baseline_scores(panel)
    return {"name": baseline_name(panel), "score": scores.auc, "low": scores.auc_low, "high": scores.auc_high}


def _describe(panel: Panel) -> dict[str, Any]:
    parts = {"train": panel.splits.train, "validation": panel.splits.validation, "test": panel.splits.test}
    return {
        "series": list(panel.series),
        "features": len(panel.feature_names),
        "rows": len(panel.dates),
        "decisions": {name: len(part) for name, part in parts.items()},
        "first": str(panel.dates[0])[:10],
        "last": str(panel.dates[-1])[:10],
    }


def _panel_directory(home: Path, fingerprint: str) -> Path:
    return cache_directory(home) / "panels" / fingerprint[:32]


def load_table(spec: Spec) -> PriceTable:
    """Return the study's prices.

    Raises:
        DataError: they are not there, or can't be used.
    """
    return load_example(spec.data.example) if spec.data.example else load_prices(Path(str(spec.data.path)))


def _ensure_panel(spec: Spec, home: Path | None, *, keep: bool = True) -> tuple[str, Panel]:
    table = load_table(spec)
    fingerprint = panel_fingerprint(table, **panel_options(spec))
    if home is None:
        return fingerprint, build_panel(table, **panel_options(spec))
    directory = _panel_directory(home, fingerprint)
    if not directory.is_dir():
        if not keep:
            return fingerprint, build_panel(table, **panel_options(spec))
        save_panel(build_panel(table, **panel_options(spec)), directory)
    return fingerprint, load_panel(directory)


def panel_options(spec: Spec) -> dict[str, Any]:
    """Return how the study's panel is built of its prices."""
    return {
        "tier": spec.data.tier,
        "horizon": spec.target.horizon,
        "threshold": spec.target.threshold,
        "kind": spec.target.kind,
        "window": spec.training.window,
        "validation_fraction": spec.split.validation,
        "test_fraction": spec.split.test,
    }
