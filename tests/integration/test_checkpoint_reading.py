"""Checkpoints of real trainings: shown, compared, loaded, and refused when they are no such thing."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from budgets import Architecture
from hpo.cli import execute
from studies.checkpoint_contents import CHECKPOINT_VERSION, read_checkpoint, read_content
from studies.checkpoint_weights import load_weights
from studies.declaration import architecture_values, derive
from studies.errors import CheckpointError
from studies.families import FAMILIES
from studies.objective import PrunedError, TrialContext
from studies.preparation import open_panel, prepare_prices, window_shape
from studies.reading import read_spec
from studies.training import score

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"d_model": 32, "n_layers": 2, "n_heads": 4}
LARGE = {"d_model": 64, "n_layers": 3, "n_heads": 4}
OTHER_HEADS = {**SMALL, "n_heads": 8}
QUERY = "encoder.attn_layers.0.attention.query_projection.weight"


@dataclass(frozen=True)
class Trained:
    """A training that was stopped after two steps, and the means to build its network again."""

    path: Path
    build: Callable[[], nn.Module]

    @property
    def content(self) -> dict[str, Any]:
        return torch.load(self.path, weights_only=True)

    def copy(self, path: Path, **changed: Any) -> Path:
        """Save it elsewhere with another content; None takes a key out."""
        content = {**self.content, **changed}
        torch.save({key: value for key, value in content.items() if value is not None}, path)
        return path


def train(home: Path, root: Path, shape: dict[str, int], seed: int) -> Trained:
    spec = read_spec(
        "quickstart",
        {
            "architectures": {"750k": {"shallow": shape}},
            "training": {"max_steps": 4, "effective_batch": 4, "check_every": 4},
        },
    )
    prepared = prepare_prices(spec, home)
    given = {"budget": "750k", "style": "shallow", "dropout": 0.1, "learning_rate": 1e-3, "weight_decay": 1e-3}
    params = {**given, **derive(given, architecture_values(spec)), **derive(given, prepared.derived)}
    asked = iter([False, True])
    context = TrialContext(
        spec,
        number=7,
        attempt=1,
        seed=seed,
        directory=root,
        home=home,
        sizes=prepared.sizes,
        asks=lambda: next(asked),
        checkpoint_directory=root,
    )
    with pytest.raises(PrunedError):
        score(params, context)

    def build() -> nn.Module:
        panel = open_panel(spec, home, prepared.sizes["panel"])
        return FAMILIES[spec.model].build(Architecture(**shape), window_shape(panel), 0.0, seed=99)

    return Trained(root / "training.ckpt", build)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    home = tmp_path_factory.mktemp("home")
    made = {"small": (SMALL, 1), "seed": (SMALL, 2), "large": (LARGE, 1), "heads": (OTHER_HEADS, 1)}
    with warnings.catch_warnings():
        # Lightning and torch warn about each other's and their own use of deprecated parts.
        warnings.simplefilter("ignore")
        return {name: train(home, tmp_path_factory.mktemp(name), *given) for name, given in made.items()}


@pytest.fixture
def small(trained: dict[str, Trained]) -> Trained:
    return trained["small"]


@pytest.fixture
def damaged(tmp_path: Path, small: Trained) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copy(small.path, tmp_path / "training.ckpt"))


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert execute([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    assert execute([*map(str, arguments)]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    return out


def test_inspect_shows_configuration_layers_and_size(small: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "inspect", small.path)
    network, content = small.build(), small.content
    exact = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    assert found["configuration"] == content["configuration"]
    assert (found["configuration"]["params"]["d_model"], found["configuration"]["trial"], found["step"]) == (32, 7, 2)
    assert (found["parameters"], found["recorded_parameters"], found["count_agrees"]) == (exact, exact, True)
    assert sum(layer["parameters"] for layer in found["layers"]) == exact
    assert sum(layer["share"] for layer in found["layers"]) == pytest.approx(1, abs=1e-4)
    weights = {each["name"]: each for layer in found["layers"] for each in layer["weights"]}
    assert {name: each["shape"] for name, each in weights.items()} == {
        name: list(tensor.shape) for name, tensor in network.state_dict().items()
    }
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert {name for name, each in weights.items() if each["trained"]} == trained
    # Adam keeps two moments a trained parameter, in 32 bits as the weights.
    constants = sum(each["count"] for each in weights.values() if not each["trained"])
    assert constants > 0
    assert found["bytes"] == {
        "file": small.path.stat().st_size,
        "weights": 4 * (exact + constants),
        "optimizer": 8 * exact,
    }
    assert found["dtypes"] == ["float32"]


def test_inspect_is_readable(
    small: Trained, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shown(capsys, monkeypatch, "inspect", small.path)
    assert "quickstart#7, step 2 of 4" in out
    assert "as the configuration says" in out
    assert "encoder.attn_layers.0 … 1" in out
    assert "early_stop.patience=15" in out
    assert QUERY not in out
    assert QUERY in shown(capsys, monkeypatch, "inspect", small.path, "--layers")


def test_a_count_that_the_weights_do_not_have_is_said(
    small: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = small.content["configuration"]
    wrong = {**configuration, "params": {**configuration["params"], "exact_params": 5}}
    path = small.copy(tmp_path / "wrong.ckpt", configuration=wrong)
    assert "and the configuration says 5" in shown(capsys, monkeypatch, "inspect", path)
    # A checkpoint of before the list of trained weights.
    older = small.copy(tmp_path / "older.ckpt", trained=None)
    assert read_checkpoint(older).count_agrees is None


def test_compare_tells_seeds_sizes_and_heads_apart(
    trained: dict[str, Trained], capsys: pytest.CaptureFixture[str]
) -> None:
    def compared(other: str) -> Any:
        return said(capsys, "compare", trained["small"].path, trained[other].path)

    same = compared("small")
    assert (same["configuration"], same["weights"]["loadable"], same["continuing"]["possible"]) == ([], True, True)
    seed = compared("seed")
    assert seed["configuration"] == [{"key": "seed", "a": 1, "b": 2}]
    assert (seed["weights"]["loadable"], seed["weights"]["cautions"]) == (True, [])
    assert seed["continuing"] == {"possible": False, "differs_in": ["seed"]}
    heads = compared("heads")
    assert heads["weights"]["loadable"]
    assert len(heads["weights"]["cautions"]) == 1
    large = compared("large")
    assert not large["weights"]["loadable"]
    by_name = {each["name"]: each for each in large["weights"]["differences"]}
    assert by_name[QUERY] == {"name": QUERY, "kind": "shape", "a": [32, 32], "b": [64, 64]}
    assert {each["name"].split(".")[2] for each in by_name.values() if each["kind"] == "missing"} == {"2"}
    assert {"key": "params.d_model", "a": 32, "b": 64} in large["configuration"]


def test_compare_is_readable(
    trained: dict[str, Trained], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = trained["small"].path, trained["large"].path
    out = shown(capsys, monkeypatch, "compare", small, large)
    assert "can't be loaded" in out
    assert "more, which --layers lists" in out
    assert f"{QUERY} 32x32 against 64x64" in shown(capsys, monkeypatch, "compare", small, large, "--layers")
    heads = shown(capsys, monkeypatch, "compare", small, trained["heads"].path)
    assert "can be loaded from one into the other" in heads
    assert "number of heads" in heads
    assert "training: can't go on from A by the configuration of B: another params" in heads
    assert "the configurations are equal" in shown(capsys, monkeypatch, "compare", small, small)


def test_weights_are_loaded_into_a_network_that_fits(trained: dict[str, Trained]) -> None:
    network = trained["small"].build()
    load_weights(network, trained["small"].path)
    saved = trained["small"].content["state_dict"]
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, saved[f"network.{name}"]), name


def test_weights_that_do_not_fit_are_one_error_and_leave_the_network_as_it_was(trained: dict[str, Trained]) -> None:
    network = trained["small"].build()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_weights(network, trained["large"].path)
    message = str(caught.value)
    # Every tensor of the two blocks that both have, and 16 of the third; the quantiles of the loss are equal.
    different = len(trained["large"].content["state_dict"]) - 2 - 1
    assert "enc_embedding.value_embedding.weight 64x80 against 32x80" in message
    assert f"first of {different} differences" in message
    assert "\n" not in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


def changed(**values: Any) -> Callable[[Path], None]:
    """Return what changes the configuration of a checkpoint."""

    def change(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        content["configuration"] |= values
        torch.save(content, path)

    return change


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff\x00\xff")


def compress(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def rename_layer(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["state_dict"] = {"network.\x1b[2J": torch.zeros(2)}
    torch.save(content, path)


def drop_configuration(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    del content["configuration"]
    torch.save(content, path)


def spoil_optimizer(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    torch.save({**content, "optimizer_states": [3]}, path)


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda path: os.truncate(path, path.stat().st_size // 2), "cut off or damaged"),
    "empty": (lambda path: os.truncate(path, 0), "no archive of torch"),
    "damaged": (damage, "is damaged in"),
    "another zip": (other_zip, "torch can't read it"),
    "compressed": (compress, "compressed archive"),
    "text": (lambda path: path.write_text("weights"), "no archive of torch"),
    "missing": (Path.unlink, "must be there to be read"),
    "folder": (make_folder, "name the training.ckpt in it"),
    "old format": (lambda p: torch.save({"a": 1}, p, _use_new_zipfile_serialization=False), "no archive of torch"),
    "list": (lambda path: torch.save([1, 2], path), "holds no weights"),
    "no configuration": (drop_configuration, "holds no configuration"),
    "newer": (changed(version=CHECKPOINT_VERSION + 1), "update hpo"),
    "no version": (changed(version=None), "plain values"),
    "no table": (changed(params=[1]), "plain values"),
    "tensor": (changed(data=torch.zeros(2)), "torch can't read it"),
    "endless": (changed(data=ENDLESS), "Circular reference"),
    "key": (changed(seed={1: 2}), "plain values"),
    "escape": (rename_layer, "no printable names"),
    "optimizer": (spoil_optimizer, "optimizer's state can't be understood"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_no_checkpoint_is_refused_in_one_line(
    small: Trained, damaged: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    spoil, reason = SPOILT[name]
    spoil(damaged)
    for arguments in (["inspect", str(damaged)], ["compare", str(small.path), str(damaged), "--json"]):
        assert execute(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1
        assert str(damaged) in err
        assert reason in err


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_checkpoint_is_not_run(
    damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], save: Callable[[Any, Path], object]
) -> None:
    harm = tmp_path / "harm"
    save({**torch.load(damaged, weights_only=True), "harm": Harmful(harm)}, damaged)
    assert execute(["inspect", str(damaged)]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert not harm.exists()
    # The same file is harmful to who reads it carelessly: the test would otherwise prove nothing.
    if zipfile.is_zipfile(damaged):
        assert "asks to call posix.mkdir" in err
        torch.load(damaged, weights_only=False)
    else:
        pickle.loads(damaged.read_bytes())
    assert harm.exists()


def test_the_weights_stay_on_the_disk_while_they_are_only_looked_at(small: Trained, tmp_path: Path) -> None:
    size = 128 * 2**20
    path = small.copy(tmp_path / "large.ckpt", state_dict={"network.layer.weight": torch.zeros(size // 4)})
    process = psutil.Process()
    before = process.memory_info().rss
    content = read_content(path, mapped=True)
    grown = process.memory_info().rss - before
    assert content["state_dict"]["network.layer.weight"].numel() == size // 4
    assert grown < size / 4
    path.unlink()


def test_reading_a_checkpoint_needs_no_lightning(small: Trained) -> None:
    code = (
        "import sys; from pathlib import Path; from studies.checkpoint_contents import read_checkpoint;"
        f"found = read_checkpoint(Path({str(small.path)!r}));"
        "print(found.step, [m for m in ('pytorch_lightning', 'neuralforecast', 'pandas') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "2 []"


def test_what_the_document_says_of_reading_one_is_so(small: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    document = (ROOT / "docs" / "checkpoints.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    monkeypatch.chdir(small.path.parent)
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["weights"].keys() == small.build().state_dict().keys()
    assert all(f"`{key}`" in document for key in {**found["checkpoint"], **found["checkpoint"]["configuration"]})
