"""Wrong input to the commands that look ahead: exit code 2, one line, nothing printed and nothing written."""

from pathlib import Path

import pytest

from hpo.cli import execute

FILES = {
    "no.yaml": "name: [a\n",
    "list.yaml": "- a\n",
    "twice.yaml": "name: a\nname: b\n",
    "latin.yaml": "name: caf\u00e9\n",
    "text.ckpt": "not a checkpoint\n",
    "ratio.yaml": "name: r\nobjective: m:f\nmetric: sharpe\nbudgets: [750k]\ntraining: {effective_batch: 1024}\n",
    "small.yaml": "name: r\nobjective: m:f\nmetric: sharpe\nbudgets: [750k]\ntraining: {effective_batch: 256}\n",
}


def spec(line: str) -> str:
    """A study with one wrong line."""
    return f"name: s\nbudgets: [750k]\ntrials: 20\n{line}\n"


ARGUMENTS = [
    ("check", ["STUDY", "--explain"]),
    ("check quikstart", ["quikstart", "did you mean quickstart?"]),
    ("check missing.yaml", ["missing.yaml"]),
    ("check no.yaml", ["no.yaml line", "not YAML"]),
    ("check list.yaml", ["list.yaml", "mapping"]),
    ("check twice.yaml", ["line 2", "twice"]),
    ("check latin.yaml", ["latin.yaml", "line 1", "name"]),
    ("check quickstart --baseline nothing", ["nothing", "quickstart"]),
    ("check quickstart --baseline no.yaml", ["no.yaml"]),
    ("check quickstart --baseline quickstart#x", ["STUDY#NUMBER", "quickstart#x"]),
    ("check quickstart --baseline quickstart#²", ["STUDY#NUMBER", "quickstart#²"]),
    ("check quickstart --baseline quickstart#-1", ["STUDY#NUMBER", "quickstart#-1"]),
    ("check quickstart --baseline quickstart#", ["STUDY#NUMBER", "quickstart#"]),
    ("check quickstart --baseline #1", ["STUDY#NUMBER", "#1"]),
    ("check quickstart --baseline quickstart#1", ["unknown study 'quickstart'"]),
    ("check --explain batch", ["batch", "batch-minimum", "all"]),
    ("check --explain batch-minimum --strict", ["--explain", "--strict"]),
    ("check --explain batch-minimum --baseline quickstart", ["--explain", "--baseline"]),
    ("check quickstart --baseline quickstart#1 --storage sqlite:///x.db", ["sqlite", "Postgres"]),
    ("check quickstart --baseline quickstart#1 --storage postgresql://u@127.0.0.1:1/x", ["127.0.0.1", "reachable"]),
    ("run quickstart --mode safe --workers 4", ["mode safe", "4"]),
    ("run quickstart --mode slow", ["slow", "--help"]),
    ("run quickstart --trials -1 --dry-run", ["trials", "-1"]),
    ("run quickstart --trials 99999999999999999999 --dry-run", ["trials", "99999999999999999999"]),
    ("run quickstart --early-stop-threshold nan --dry-run", ["threshold", "nan"]),
    ("run quickstart --early-stop-patience 0 --dry-run", ["patience", "0"]),
    ("run --model patchtst --data-tier a20 --dry-run", ["patchtst", "takes no covariates"]),
    ("run ratio.yaml --then-phase2", ["phase2.effective_batch: [1024, 4096]", "batch-minimum"]),
    ("run small.yaml", ["at least 1024", "not 256", "batch-minimum"]),
    ("run small.yaml --dry-run", ["at least 1024", "not 256", "batch-minimum"]),
    ("fleet plan --workers 0", ["--workers", "0"]),
    ("fleet plan --workers -1", ["--workers", "-1"]),
    ("fleet plan --workers many", ["--workers", "many"]),
    ("fleet plan --workers 1000000", ["--workers", "1000000"]),
    ("fleet plan --study nothing", ["nothing"]),
    ("inspect missing.ckpt", ["missing.ckpt"]),
    ("inspect text.ckpt", ["text.ckpt"]),
    ("inspect .", ["."]),
    ("inspect nothing#1", ["nothing"]),
    ("inspect nothing#x", ["nothing#x"]),
    ("compare text.ckpt missing.ckpt", ["ckpt"]),
    ("compare nothing#1", ["--help"]),
    ("size transformer --budget 0", ["0"]),
    ("size transformer --budget -5", ["-5"]),
    ("size transformer --budget 1e30", ["1e30"]),
    ("size transformer --budget 2M --heads 0", ["heads", "0"]),
    ("size transformer --budget 2M --heads 1000000", ["1000000"]),
    ("size transformer --budget 2M --multiple 0", ["multiple", "0"]),
    ("size transformer --budget 2M --multiple -32", ["multiple", "-32"]),
    ("size transformer --budget 2M --window 0", ["window", "0"]),
    ("size transformer --budget 2M --horizon 0", ["horizon", "0"]),
    ("size transformer --budget 2M --aspect nan", ["aspect", "nan"]),
    ("size transformer --budget 2M --aspect 0", ["aspect", "0"]),
    ("size transformer --budget 2M --aspect -3", ["aspect", "-3"]),
    ("size transformer --budget 500", ["500"]),
    ("size mlp --obs-dim 0", ["0"]),
    ("size mlp --obs-dim -1", ["-1"]),
    ("size mlp --obs-dim 99999999999999999999999", ["99999999999999999999999"]),
    ("size mlp --hidden-dims", ["hidden"]),
    ("size mlp --hidden-dims 8 --head-dims 0", ["0"]),
    ("size mlp --tier low --detect", ["one of them"]),
    ("batch --params 0", ["0"]),
    ("batch --params -5", ["-5"]),
    ("batch --params 1e30", ["1e30"]),
    ("batch --params 20M --effective 99999999999999999999", ["99999999999999999999"]),
    ("batch --params 20M --micro -1", ["-1"]),
    ("batch --params 20M --world-size -2", ["-2"]),
    ("batch --params 20M --ppo --epochs 0", ["0"]),
]

LINES = [
    ("training: {loss: mse}", ["mse", "bernoulli"]),
    ("training: {loss: hinge}", ["line 4", "hinge", "bernoulli"]),
    ("metric: sharp", ["line 4", "sharp", "sharpe"]),
    ("metric: sharpe", ["AUC", "sharpe"]),
    ("direction: minimize", ["AUC", "direction"]),
    ("training: {effective_batch: 64, micro_batch: 48}", ["64", "48", "divisor"]),
    ("training: {effective_batch: 0}", ["effective_batch", "0"]),
    ("training: {effective_batch: -64}", ["effective_batch", "-64"]),
    ("training: {effective_batch: many}", ["effective_batch", "many"]),
    ("training: {effective_batch: 100000000000}", ["effective_batch", "100000000000"]),
    ("training: {window: 1}", ["window", "1"]),
    ("training: {max_steps: .inf}", ["max_steps", "inf"]),
    ("training: {precision: fp8}", ["precision", "fp8"]),
    ("model: gpt", ["model", "gpt"]),
    ("mode: turbo", ["mode", "turbo"]),
    ("seed: -1", ["seed", "-1"]),
    ("max_attempts: 0", ["max_attempts", "0"]),
    ("phase2: {learning_rate: [1.0e-3, 1.0e-5]}", ["learning_rate"]),
    ("phase2: {n_heads: [3, 16]}", ["n_heads", "3"]),
    ("data: {tier: a30}", ["tier", "a30"]),
    ("split: {validation: 0.6}", ["validation", "0.6"]),
    ("target: {horizon: 0}", ["horizon", "0"]),
    ("target: {kind: tuch}", ["kind", "tuch"]),
    ("objective: 'os'", ["objective", "os"]),
    ("architectures: {750k: {deep: {d_model: -8, n_layers: 2, n_heads: 4}}}", ["d_model", "-8"]),
    ("architectures: {3M: {}}", ["3M"]),
    ("alerts: {gpu_memory: 85}", ["gpu_memory", "85"]),
]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HPO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    monkeypatch.chdir(tmp_path / "work")
    for name, text in FILES.items():
        (tmp_path / "work" / name).write_text(text, encoding="utf-8")


def check_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], said: list[str]) -> None:
    before = sorted(Path.cwd().parent.rglob("*"))
    code = execute(arguments)
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), (code, out, err)
    assert len(err.splitlines()) == 1, err
    assert all(part in err for part in said), err
    assert len(err) < 500, err
    assert sorted(Path.cwd().parent.rglob("*")) == before


@pytest.mark.parametrize(("arguments", "said"), ARGUMENTS, ids=[given for given, _ in ARGUMENTS])
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: str, said: list[str]) -> None:
    check_refused(capsys, arguments.split(), said)


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(("line", "said"), LINES, ids=[line for line, _ in LINES])
def test_wrong_specifications(capsys: pytest.CaptureFixture[str], line: str, said: list[str], command: str) -> None:
    Path("wrong.yaml").write_text(spec(line))
    check_refused(capsys, [command, "wrong.yaml"], said)
