"""The operations of a supplementary trial are those of its own heads and its own batch."""

from pathlib import Path

from budgets import Architecture
from studies.declaration import architecture_values, derive
from studies.families import FAMILIES
from studies.preparation import open_panel, prepare_prices, window_shape
from studies.reading import read_spec
from studies.spec import Spec


def test_the_operations_are_those_of_the_heads_and_the_batch_of_the_trial(tmp_path: Path) -> None:
    fixed = {"of": "quickstart", "trial": 1, "style": "shallow", "dropout": 0.5, "n_heads": 4, "learning_rate": 1e-4}
    phase2 = {"supplementary": {**fixed, "weight_decay": 1e-3, "effective_batch": 32}, "trials": 30}
    made = read_spec("quickstart", {}).model_dump()
    spec = Spec.model_validate({**made, "name": "quickstart/phase2/750k", "budgets": ["750k"], **phase2})
    prepared = prepare_prices(spec, tmp_path)
    shape, found = window_shape(open_panel(spec, tmp_path, prepared.sizes["panel"])), set()
    for heads in (2, 16):
        for batch in (8, 64):
            searched = {"n_heads_log2": heads.bit_length() - 1, "effective_batch_log2": batch.bit_length() - 1}
            values = derive(searched, (*architecture_values(spec), *prepared.derived))
            model = Architecture(values["d_model"], values["n_layers"], heads)
            expected = FAMILIES[spec.model].training_flops(model, shape) * batch * spec.training.max_steps
            assert values["flops"] == expected
            found.add(expected)
    assert len(found) == 4
