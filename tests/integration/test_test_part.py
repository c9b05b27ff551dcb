"""The test part is seen by nobody before it is read, and what is read of it is written down once."""

import shutil
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import TcpPostgres
from sqlalchemy import Engine, text

from hpo.control import Control
from hpo.control_schema import migrate
from hpo.final_reading import fault
from hpo.records import StudyRecord, StudyState
from hpo.report.evidence import Evidence
from hpo.report.final_result import FinalResult, result_of
from hpo.report.finalists import Finalist, FinalPlan, Retrained
from hpo.report.readings import begin_reading, end_reading, reading_of, readings_before, stored_reading
from hpo.storage import open_engine, parse_storage_url
from studies.baseline import decision_clusters, validation_clusters
from studies.data.panel import load_panel
from studies.declaration import architecture_values, derive
from studies.errors import DataError
from studies.final import check_test_part, read_test_part, validation_area
from studies.objective import TrialContext
from studies.preparation import prepare_prices
from studies.reading import read_spec
from studies.spec import Spec
from studies.trained import ReadPart, TrainedModel
from studies.training import score

PARAMS = {"budget": "750k", "style": "shallow", "dropout": 0.1, "learning_rate": 1e-3, "weight_decay": 1e-3}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    # Lightning and torch warn about each other's and their own use of deprecated parts.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def spec() -> Spec:
    training = {"max_steps": 4, "effective_batch": 8, "check_every": 2, "window": 20}
    split = {"validation": 0.05, "test": 0.05}
    return read_spec("quickstart", {"name": "read", "budgets": ["750k"], "training": training, "split": split})


@pytest.fixture(scope="module")
def sizes(spec: Spec, cache: Path) -> dict[str, Any]:
    return dict(prepare_prices(spec, cache).sizes)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def train(spec: Spec, sizes: dict[str, Any], home: Path, directory: Path, seed: int = 1) -> tuple[TrainedModel, float]:
    values = {**PARAMS, **derive(PARAMS, architecture_values(spec))}
    context = TrialContext(spec, number=0, attempt=1, seed=seed, directory=directory, home=home, sizes=sizes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        area = score(values, context)
    return TrainedModel(spec, values, seed, directory / "weights.ckpt"), area


@pytest.fixture(scope="module")
def trained(
    spec: Spec, sizes: dict[str, Any], cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainedModel, float]:
    return train(spec, sizes, cache, tmp_path_factory.mktemp("trial"))


@pytest.fixture
def shuffled(sizes: dict[str, Any], cache: Path, tmp_path: Path) -> Path:
    """The same prepared data with other labels and features in its test part."""
    home = tmp_path / "shuffled"
    shutil.copytree(cache / "cache", home / "cache")
    directory = home / "cache" / "panels" / sizes["panel"][:32]
    panel, random = load_panel(directory), np.random.default_rng(1)
    begin = panel.splits.validation.stop + panel.horizon
    for name in ("labels", "features"):
        values = np.array(getattr(panel, name))
        values[begin:] = random.permutation(values[begin:])
        np.save(directory / f"{name}.npy", values)
    return home


def test_nothing_but_the_reading_sees_the_test_part(
    spec: Spec, sizes: dict[str, Any], cache: Path, shuffled: Path, trained: tuple[TrainedModel, float], tmp_path: Path
) -> None:
    model, area = trained
    again, area_with_other_test_part = train(spec, sizes, shuffled, tmp_path / "trial")
    assert area_with_other_test_part == area
    assert validation_area(again, sizes, shuffled) == validation_area(model, sizes, cache)
    here, there = read_test_part([model], sizes, cache, 1), read_test_part([model], sizes, shuffled, 1)
    assert not np.array_equal(here.labels, there.labels)
    assert not np.array_equal(here.probabilities, there.probabilities)


def test_stored_weights_give_the_validation_score_of_their_training_again(
    sizes: dict[str, Any], cache: Path, trained: tuple[TrainedModel, float]
) -> None:
    model, area = trained
    assert validation_area(model, sizes, cache) == pytest.approx(area, abs=1e-6)
    assert fault(None, model, area, sizes, cache) == ""  # type: ignore[arg-type]


def test_weights_of_another_training_and_damaged_ones_are_found_before_anything_is_read(
    spec: Spec, sizes: dict[str, Any], cache: Path, trained: tuple[TrainedModel, float], tmp_path: Path
) -> None:
    model, area = trained
    other, _ = train(spec, sizes, cache, tmp_path / "other", seed=2)
    swapped = replace(model, weights=other.weights)
    assert "its weights score" in fault(None, swapped, area, sizes, cache)  # type: ignore[arg-type]
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(model.weights.read_bytes()[:1000])
    assert "damaged" in fault(None, replace(model, weights=damaged), area, sizes, cache)  # type: ignore[arg-type]


def test_the_part_that_is_read_is_the_test_part_of_the_panel_decision_by_decision(
    sizes: dict[str, Any], cache: Path, trained: tuple[TrainedModel, float]
) -> None:
    panel = load_panel(cache / "cache" / "panels" / sizes["panel"][:32])
    test = panel.splits.test
    part = read_test_part([trained[0], trained[0]], sizes, cache, 1)
    assert part.labels.mean() == pytest.approx(panel.base_rates["test"])
    assert np.array_equal(part.labels, panel.labels[test.start + panel.horizon : test.stop + panel.horizon].ravel())
    assert part.probabilities.shape == (2, len(test) * len(panel.series))
    assert np.array_equal(part.probabilities[0], part.probabilities[1])
    assert (part.first, part.last) == (str(panel.dates[test[0]])[:10], str(panel.dates[test[-1]])[:10])
    assert np.array_equal(part.clusters, decision_clusters(panel, test))
    assert not set(part.clusters) & set(validation_clusters(panel))


def test_a_test_part_with_one_class_is_refused_before_anybody_trains_for_it(
    spec: Spec, sizes: dict[str, Any], cache: Path, tmp_path: Path
) -> None:
    check_test_part(spec, sizes, cache)
    home = tmp_path / "one-class"
    shutil.copytree(cache / "cache", home / "cache")
    description = home / "cache" / "panels" / sizes["panel"][:32] / "panel.json"
    rate = repr(load_panel(description.parent).base_rates["test"])
    description.write_text(description.read_text().replace(rate, "0.0"))
    with pytest.raises(DataError, match=r"must be of both classes: in study read its base rate is 0; .* split\.test"):
        check_test_part(spec, sizes, home)


# What is written down.


@pytest.fixture
def engine(tcp_postgres: TcpPostgres) -> Iterator[Engine]:
    engine = open_engine(parse_storage_url(tcp_postgres.url_of(tcp_postgres.new_database())))
    migrate(engine)
    for name, example in (("read", "indices"), ("same", "indices"), ("other", None)):
        made = read_spec("quickstart", {"name": name})
        data = {"tier": "a20", "example": example, "path": None if example else "/prices.csv"}
        record = StudyRecord(name, 1, {**made.as_json(), "data": data}, name, {}, 9, StudyState.RUNNING, "", {}, False)
        Control(engine).add_study(record, [])
    yield engine
    engine.dispose()


def plan_of(*seeds: int) -> FinalPlan:
    finalist = Finalist(1, "read", 4, "750k_shallow", PARAMS, {**PARAMS, "d_model": 192}, {}, 0.6, 1, "key")
    return FinalPlan(1, seeds, (finalist,), 9, tuple(Retrained(1, seed, 0.58) for seed in seeds))


def result_for(plan: FinalPlan) -> FinalResult:
    random = np.random.default_rng(1)
    labels, rows = (random.random(60) < 0.5).astype(float), random.random((len(plan.seeds), 60))
    return result_of(plan, ReadPart(labels, np.arange(60), rows, random.random(60), "b", "2018-01-01", "2018-02-01", 1))


def test_a_reading_is_written_down_before_its_result_and_comes_back_as_it_was(engine: Engine) -> None:
    plan = plan_of(2, 3)
    assert stored_reading(engine, "read", "v1") is None
    begun = begin_reading(engine, "read", "v1", plan)
    assert (begun.plan, begun.result) == (plan, None)
    end_reading(engine, begun, result_for(plan))
    assert stored_reading(engine, "read", "v1") == replace(begun, result=result_for(plan))


def test_whoever_begins_second_gets_what_the_first_has_written_and_changes_neither_plan_nor_result(
    engine: Engine,
) -> None:
    first = begin_reading(engine, "read", "v1", plan_of(2, 3))
    second = begin_reading(engine, "read", "v1", plan_of(7))
    assert second == first
    end_reading(engine, first, result_for(plan_of(2, 3)))
    end_reading(engine, first, result_for(plan_of(9)))
    found = stored_reading(engine, "read", "v1")
    assert found is not None
    assert found.result == result_for(plan_of(2, 3))
    assert found.read_at == first.read_at


def test_a_report_finds_the_reading_of_the_version_that_the_study_has_now(engine: Engine) -> None:
    evidence = Evidence("read", "maximize", "validation AUC", (), record=Control(engine).study("read"))
    assert reading_of(engine, evidence) is None
    begin_reading(engine, "read", "an older version", plan_of(1))
    begun = begin_reading(engine, "read", "read", plan_of(2, 3))
    assert reading_of(engine, evidence) == begun


def test_many_that_begin_at_once_write_one_reading(engine: Engine) -> None:
    found: list[FinalPlan] = []

    def begin(seed: int) -> None:
        found.append(begin_reading(engine, "read", "v1", plan_of(seed)).plan)

    threads = [threading.Thread(target=begin, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(plan == found[0] for plan in found)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM hpo.test_reading")) == 1


def test_readings_of_the_same_prices_are_counted_whatever_study_they_are_of(engine: Engine) -> None:
    assert readings_before(engine, "read", "v1") == ()
    begin_reading(engine, "other", "o1", plan_of(1))
    same = begin_reading(engine, "same", "s1", plan_of(1))
    first = begin_reading(engine, "read", "v1", plan_of(2))
    later = begin_reading(engine, "read", "v2", plan_of(3))
    assert first.earlier == (("same", same.read_at),)
    assert later.earlier == (("same", same.read_at), ("read", first.read_at))
    assert readings_before(engine, "read", "v3") == (*later.earlier, ("read", later.read_at))
    assert [study for study, _ in readings_before(engine, "other", "o2")] == ["other"]
