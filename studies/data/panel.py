"""The arrays that a model sees: labels and features of all series, stored when they are known.

With horizon H and window L, a decision at row t sees labels at rows t-L+1..t and features at rows t-L+1..t+H,
which are the indicators of times up to t, and its target is the label at row t+H. A panel starts at the first
row where everything is known, so every row is finite, and decisions run from row L-1 to row T-1-H.
"""

import hashlib
import json
import mmap
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from studies.data.audit import audit_leaks
from studies.data.indicators import FEATURE_VERSION, TIERS
from studies.data.known_values import (
    LABEL_KINDS,
    KnownValues,
    common_dates,
    compute_known,
    read_ready,
    scale_by_train,
)
from studies.data.prices import PriceTable
from studies.data.splits import Splits, decisions_needed, purged_splits
from studies.errors import DataError

#: Raised whenever the files of `save_panel` change their meaning.
FILE_VERSION = 1

_ARRAYS = ("dates", "features", "labels")

#: Series whose features are audited: a column that knows the future knows it in each of them.
AUDITED_SERIES = 20


@dataclass(frozen=True, eq=False)
class Panel:
    """Labels and features of all series over the dates that they share.

    Attributes:
        series: The N identifiers.
        dates: datetime64[ns] [T]: when the values of a row are known.
        feature_names: The F names.
        features: float32 [T, N, F]: row s holds the features of time s-H, standardized for each series and
            feature by the mean and standard deviation of the rows that train decisions see, clipped to ±10.
        labels: float32 [T, N]: row s holds the label, 0 or 1, of the decision at s-H.
        horizon: H, rows that a label looks ahead.
        window: L, rows that a decision looks back over, its own included.
        splits: The rows t of the decisions of each part; decision t has its target at row t+H.
        base_rates: Share of positive targets for "train", "validation" and, unless cut off, "test".
        notices: What the caller should print, one sentence each.
    """

    series: tuple[str, ...]
    dates: npt.NDArray[np.datetime64]
    feature_names: tuple[str, ...]
    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    horizon: int
    window: int
    splits: Splits
    base_rates: Mapping[str, float]
    notices: tuple[str, ...] = ()


def build_panel(
    table: PriceTable,
    *,
    tier: str = "a20",
    horizon: int = 1,
    threshold: float = 0.01,
    kind: str = "touch",
    window: int = 80,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
) -> Panel:
    """Compute labels and features, align and split them, scale by train, and audit them for leaks.

    A table of ready features keeps its labels and, unless the tier is none, its features; `threshold`, `kind` and
    any other tier don't matter then.

    Args:
        table: Checked prices or ready features.
        tier: Which indicators: none, a20, a50, a100 or a200; with none, a model sees the labels of the past alone.
        horizon: H, rows that a label looks ahead.
        threshold: The rise that makes a label 1, as a share of the close.
        kind: "touch" or "close", see `studies.data.labels`.
        window: L, rows that a decision sees, its own included.
        validation_fraction: Share of the decisions for validation.
        test_fraction: Share of the decisions for the test.

    Raises:
        DataError: a setting is impossible, the series share no or too few rows, all labels of train or of
            validation are equal, or the audit finds a feature that knows the future.
    """
    _check_settings(table, tier, horizon, threshold, kind, window)
    dates, dropped = common_dates(table)
    ready = table.ready
    known = read_ready(table, dates, tier) if ready else compute_known(table, dates, tier, horizon, threshold, kind)
    start = known.first_complete_row(table.origin, dates)
    n_decisions = len(dates) - start - (window - 1) - horizon
    needed = decisions_needed(horizon, validation_fraction, test_fraction)
    if n_decisions < needed:
        raise _too_few_rows(table, len(dates), needed - n_decisions)
    splits = purged_splits(n_decisions, horizon, validation_fraction, test_fraction).shifted(window - 1)
    known = known.from_row(start)
    rates = _base_rates(known.labels, splits, horizon)
    _check_base_rates(rates, table, horizon, threshold)
    # The rows that a train decision sees; they are indicators of times up to the last train decision.
    train_rows = splits.train.stop + horizon
    # Computed features have been recomputed without the future; of given ones there are only the numbers.
    unaudited = _audit(known, train_rows, table, horizon) if ready and known.names else ()
    features, constant = scale_by_train(known, train_rows, table)
    return Panel(
        series=table.series,
        dates=dates[start:],
        feature_names=known.names,
        features=features,
        labels=known.labels.astype(np.float32),
        horizon=horizon,
        window=window,
        splits=splits,
        base_rates=rates,
        notices=(*table.notices, *dropped, *unaudited, *constant),
    )


def cut_before_test(panel: Panel) -> Panel:
    """The panel without the test part: it ends at the last row that a validation decision needs.

    No reference to the test part stays behind: what is mapped from a file is mapped anew up to there, and the other
    arrays are copies. A mapping is shared by all trials of a machine; a copy would be each one's own: 2 GB of 500
    series with 200 features over 5,000 rows.
    """
    end = panel.splits.validation.stop + panel.horizon
    return replace(
        panel,
        dates=panel.dates[:end].copy(),
        features=_first_rows(panel.features, end),
        labels=_first_rows(panel.labels, end),
        splits=replace(panel.splits, test=range(end, end)),
        base_rates={part: rate for part, rate in panel.base_rates.items() if part != "test"},
    )


def _first_rows(array: npt.NDArray[np.float32], rows: int) -> npt.NDArray[np.float32]:
    base: object = array.base
    # Of a part of a mapping the base is the whole one, and the offset is not that of the part: it is copied.
    if isinstance(array, np.memmap) and isinstance(base, mmap.mmap):
        assert array.filename is not None
        return np.memmap(array.filename, np.float32, "r", array.offset, (rows, *array.shape[1:]))
    return np.array(array[:rows])


def panel_fingerprint(
    table: PriceTable,
    *,
    tier: str = "a20",
    horizon: int = 1,
    threshold: float = 0.01,
    kind: str = "touch",
    window: int = 80,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
) -> str:
    """SHA-256 in hex of the table's content, the settings of `build_panel` and the version of the features.

    Equal fingerprints mean equal panels; where the table came from doesn't matter.
    """
    given = "none" if tier == "none" else None
    computed = given if table.ready else (tier, float(threshold), kind)
    settings = (FEATURE_VERSION, computed, horizon, window, float(validation_fraction), float(test_fraction))
    digest = hashlib.sha256(repr((settings, table.value_columns, table.series)).encode())
    for name in table.series:
        rows = table.one_series(name)
        digest.update(repr((name, len(rows))).encode())
        digest.update(rows.index.to_numpy(dtype="datetime64[ns]").tobytes())
        digest.update(np.ascontiguousarray(rows.to_numpy(dtype=np.float64)).tobytes())
    return digest.hexdigest()


def _check_settings(table: PriceTable, tier: str, horizon: int, threshold: float, kind: str, window: int) -> None:
    for name, value in (("horizon", horizon), ("window", window)):
        if value < 1:
            raise DataError(f"{name} must be at least 1 row: {value} is not; give a positive whole number")
    if table.ready:
        return
    if tier not in TIERS:
        raise DataError(f"a tier must be one of {', '.join(TIERS)}: {tier!r} is not; choose one of them")
    if kind not in LABEL_KINDS:
        raise DataError(f"kind must be one of {', '.join(LABEL_KINDS)}: {kind!r} is not; choose one of them")
    if not -1 < threshold < np.inf:
        raise DataError(f"threshold must be a share above -1: {threshold} is not; 0.01 is one percent")


def _too_few_rows(table: PriceTable, given: int, lacking: int) -> DataError:
    return DataError(
        f"warm-up, window, horizon and splits need {given + lacking} rows a series: {table.origin} gives "
        f"{given} that all series share; give more rows, or a smaller window, horizon or tier"
    )


def _base_rates(labels: npt.NDArray[np.float64], splits: Splits, horizon: int) -> dict[str, float]:
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {name: float(labels[part.start + horizon : part.stop + horizon].mean()) for name, part in parts.items()}


def _check_base_rates(rates: Mapping[str, float], table: PriceTable, horizon: int, threshold: float) -> None:
    for part in ("train", "validation"):
        if 0 < rates[part] < 1:
            continue
        if table.ready:
            remedy = "give another target or more rows"
        else:
            change = "lower" if rates[part] == 0 else "raise"
            remedy = f"{change} the threshold {threshold:g} (horizon {horizon}), or give more rows"
        raise DataError(
            f"labels must be of both classes in train and validation: in {part} of {table.origin} the base "
            f"rate is {rates[part]:g}; {remedy}"
        )


def _audit(known: KnownValues, train_rows: int, table: PriceTable, horizon: int) -> tuple[str, ...]:
    """Audit some series, evenly chosen; the notices of those that could not be judged, at most one."""
    n_series = len(table.series)
    step = -(-n_series // AUDITED_SERIES)
    notices: list[str] = []
    for position in range(0, n_series, step):
        notices += audit_leaks(
            known.features[:train_rows, position],
            known.labels[:train_rows, position],
            horizon,
            names=known.names,
            origin=f"{table.origin}, series {table.series[position]}",
        )
    return tuple(notices[:1])


def save_panel(panel: Panel, directory: Path) -> None:
    """Write a panel as .npy files and a JSON into a new directory, all of it or nothing.

    The files are written beside `directory` and moved there at once. Writers that race with equal panels all
    succeed: the first one to arrive stays, and `directory` is complete as soon as it exists.

    Raises:
        DataError: `directory` holds something else, such as another panel.
    """
    directory = Path(directory)
    content = _description(panel)
    scratch = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}")
    scratch.mkdir(parents=True)
    try:
        for name in _ARRAYS:
            np.save(scratch / f"{name}.npy", getattr(panel, name), allow_pickle=False)
        (scratch / "panel.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
        try:
            os.rename(scratch, directory)
        except OSError:
            # A directory that is not empty, or a file, stands there: a writer that was faster, or a mistake.
            if _read_description(directory) != content:
                raise DataError(
                    f"a panel is saved once: {directory} holds another panel; choose another directory "
                    "(named by panel_fingerprint) or remove it"
                ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def load_panel(directory: Path) -> Panel:
    """Open a saved panel; its arrays are mapped from the files, read-only, and so shared between processes.

    Raises:
        DataError: `directory` holds no panel, or one of another version.
    """
    directory = Path(directory)
    content = _read_description(directory)
    try:
        arrays = {name: np.load(directory / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
    except (OSError, ValueError) as error:
        raise DataError(f"a panel needs its arrays: {directory} lacks one ({error}); build it again") from None
    return Panel(
        series=tuple(content["series"]),
        feature_names=tuple(content["feature_names"]),
        horizon=content["horizon"],
        window=content["window"],
        splits=Splits(**{part: range(*bounds) for part, bounds in content["splits"].items()}),
        base_rates=content["base_rates"],
        notices=tuple(content["notices"]),
        **arrays,
    )


def _description(panel: Panel) -> dict[str, Any]:
    """What the JSON holds: everything but the arrays, and a digest of those."""
    digest = hashlib.sha256()
    for name in _ARRAYS:
        digest.update(np.ascontiguousarray(getattr(panel, name)).tobytes())
    parts = {"train": panel.splits.train, "validation": panel.splits.validation, "test": panel.splits.test}
    return {
        "version": FILE_VERSION,
        "series": list(panel.series),
        "feature_names": list(panel.feature_names),
        "horizon": panel.horizon,
        "window": panel.window,
        "splits": {name: [part.start, part.stop] for name, part in parts.items()},
        "base_rates": dict(panel.base_rates),
        "notices": list(panel.notices),
        "sha256": digest.hexdigest(),
    }


def _read_description(directory: Path) -> dict[str, Any]:
    try:
        content = json.loads((directory / "panel.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"a panel is a directory with panel.json: {directory} is not; build it again") from None
    if not isinstance(content, dict) or content.get("version") != FILE_VERSION:
        raise DataError(f"a panel must be of version {FILE_VERSION}: {directory} is not; build it again")
    return content
