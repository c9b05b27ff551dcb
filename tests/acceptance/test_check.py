"""`hpo check`: the failed experiment of the source, a stored trial as the baseline, and what `hpo run` refuses."""

import json
from pathlib import Path

from command import Command, Ended

SPEC = """
name: {name}
objective: objectives:score
metric: sharpe
budgets: [750k]
architectures: {{750k: {{shallow: {shape}, deep: {shape}}}}}
trials: 3
training: {{effective_batch: {batch}, data_workers: {workers}}}
mode: {mode}
"""


def spec(hpo: Command, name: str, width: int, batch: int, workers: int, mode: str = "fast") -> str:
    shape = f"{{d_model: {width}, n_layers: 2, n_heads: 4}}"
    return hpo.write(f"{name}.yaml", SPEC.format(name=name, shape=shape, batch=batch, workers=workers, mode=mode))


def before(hpo: Command) -> str:
    """The run that worked: 64 hidden, batch 1024, 8 data workers."""
    return spec(hpo, "before", 64, 1024, 8)


def after(hpo: Command) -> str:
    """The night that was lost: 256 hidden, and a safe mode with batch 256 and no data workers."""
    return spec(hpo, "after", 256, 256, 0, "safe")


def check(hpo: Command, *arguments: str) -> tuple[int, dict[str, object]]:
    ended = hpo.run("check", *arguments, "--json")
    return ended.code, json.loads(ended.out)


def files(hpo: Command) -> set[Path]:
    return {path for folder in (hpo.home, hpo.directory) for path in folder.rglob("*")}


def test_the_failed_experiment_is_found_before_it_is_run(hpo: Command) -> None:
    baseline, study = before(hpo), after(hpo)
    written = files(hpo)
    code, found = check(hpo, study, "--baseline", baseline)
    assert (code, found["ok"], found["errors"]) == (2, False, 2)
    assert verdicts(found) == {
        "size": "the one intended change",
        "training.effective_batch": "error",
        "training.data_workers": "harmless: how it runs",
        "mode": "harmless: how it runs",
    }
    assert levels(found) == {"batch-shrunk": "error", "batch-minimum": "error", "one-variable": "warning"}

    said = hpo.run("check", study, "--baseline", baseline)
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    check_readable(said)
    lines = said.out.splitlines()
    assert lines[lines.index("  size: 64x2x4 (98.3k) → 256x2x4 (1.57M)") + 1].strip() == "the one intended change"
    assert lines[lines.index("  training.effective_batch: 1024 → 256") + 1].strip() == "error"
    assert lines[lines.index("  training.data_workers: 8 → 0") + 1].strip() == "harmless: how it runs"
    # What the built-in objective alone asks for.
    assert not any(line.startswith(("  target.", "  data.", "  model:")) for line in lines)

    refused = hpo.run("run", study)
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
    assert "batch-minimum" in refused.err
    assert hpo.run("run", study, "--dry-run").err == refused.err
    assert files(hpo) == written


def test_a_stored_trial_is_a_baseline(hpo: Command) -> None:
    hpo.json("run", before(hpo), "--workers", "1")
    code, found = check(hpo, before(hpo), "--baseline", "before#1", "--strict")
    # What Phase 2 would do with batches is a note, and blocks nothing.
    assert (code, found["errors"], found["changes"], found["baseline"]) == (0, 0, [], "before#1")

    code, found = check(hpo, after(hpo), "--baseline", "before#1")
    assert code == 2
    assert verdicts(found)["size"] == "the one intended change"
    assert verdicts(found)["training.effective_batch"] == "error"

    said = hpo.run("check", before(hpo), "--baseline", "before#1")
    check_readable(said)
    assert "its trial: shape 750k_deep, n_heads 4, effective_batch 1024" in said.out
    assert "no difference" in said.out

    gone = hpo.run("check", before(hpo), "--baseline", "before#3")
    assert (gone.code, gone.out) == (2, "")
    assert gone.err.strip() == "study before has trials 0 to 2, not 3: take one that is there"

    # Phase 2 would train with batches of 8 to 256.
    small = hpo.run("phase2", "before", "--dry-run", "--force")
    assert (small.code, small.out, len(small.err.splitlines())) == (2, "", 1)
    assert "phase2.effective_batch: [1024, 4096]" in small.err
    both = hpo.run("run", before(hpo), "--then-phase2")
    assert (both.code, both.out, len(both.err.splitlines())) == (2, "", 1)
    assert "phase2.effective_batch: [1024, 4096]" in both.err


def verdicts(found: dict[str, object]) -> dict[str, str]:
    return {change["variable"]: change["verdict"] for change in found["changes"]}  # type: ignore[attr-defined]


def levels(found: dict[str, object]) -> dict[str, str]:
    return {finding["rule"]: finding["level"] for finding in found["findings"]}  # type: ignore[attr-defined]


def check_readable(said: Ended) -> None:
    assert max(map(len, said.out.splitlines())) <= 80
    assert "Traceback" not in said.err
