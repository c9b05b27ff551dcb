"""What the environment may say, and what it may not."""

import os
from pathlib import Path

import pytest

from budgets.errors import InputError
from hpo.settings import Settings, compute_on, load_settings
from hpo.storage import parse_storage_url


def test_nothing_set_gives_the_defaults() -> None:
    settings = load_settings({})
    assert settings.home.is_absolute()
    assert settings.home.name == "hpo"
    assert settings == Settings(settings.home, None, 10.0, 60.0, 30.0, 30.0)


def test_every_variable_is_read() -> None:
    settings = load_settings(
        {
            "HPO_HOME": "/srv/hpo",
            "HPO_STORAGE": "postgresql://db/x",
            "HPO_BEAT_SECONDS": "0.5",
            "HPO_LOST_AFTER_SECONDS": "3",
            "HPO_POLL_SECONDS": " 0.25 ",
        }
    )
    assert settings == Settings(Path("/srv/hpo"), "postgresql://db/x", 0.5, 3.0, 0.25)


def test_an_empty_variable_counts_as_unset() -> None:
    names = ("HPO_HOME", "HPO_STORAGE", "HPO_BEAT_SECONDS", "HPO_LOST_AFTER_SECONDS", "HPO_POLL_SECONDS")
    assert load_settings(dict.fromkeys((*names, "HPO_STORAGE_PASSWORD_FILE"), "")) == load_settings({})


def test_a_tilde_is_the_home_directory() -> None:
    assert load_settings({"HPO_HOME": "~/x"}).home == Path.home() / "x"


def test_the_home_directory_of_nobody_is_refused() -> None:
    with pytest.raises(InputError, match="HPO_HOME"):
        load_settings({"HPO_HOME": "~no-such-user-here/x"})


@pytest.mark.parametrize("name", ["HPO_BEAT_SECONDS", "HPO_LOST_AFTER_SECONDS", "HPO_POLL_SECONDS"])
@pytest.mark.parametrize("value", ["soon", "0", "-1", "inf", "nan", "1e999", "5s"])
def test_a_number_that_is_no_positive_one_is_refused_in_one_line(name: str, value: str) -> None:
    with pytest.raises(InputError) as caught:
        load_settings({name: value})
    message = str(caught.value)
    assert name in message
    assert repr(value) in message
    assert "unset it" in message
    assert "\n" not in message


@pytest.mark.parametrize("lost_after", ["5", "2"])
def test_a_worker_may_not_be_lost_between_two_beats(lost_after: str) -> None:
    with pytest.raises(InputError, match="HPO_LOST_AFTER_SECONDS must be more than HPO_BEAT_SECONDS"):
        load_settings({"HPO_LOST_AFTER_SECONDS": lost_after})


def test_the_representation_holds_no_password() -> None:
    assert "secret" not in repr(load_settings({"HPO_STORAGE": "postgresql://u:secret@db/x"}))


NASTY = "p@ss:w/rd%{x} #?ü"


def from_file(tmp_path: Path, storage: str, content: str | bytes = "secret\n") -> Settings:
    file = tmp_path / "password"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_settings({"HPO_STORAGE": storage, "HPO_STORAGE_PASSWORD_FILE": str(file)})


@pytest.mark.parametrize(
    "storage", ["postgresql://hpo@db:5433/x", "postgres://hpo@/x?host=/run/db", " postgresql://hpo@db/x"]
)
@pytest.mark.parametrize("content", [NASTY, f"{NASTY}\n", f"{NASTY}\r\n", f"{NASTY}\nanother line\n"])
def test_the_first_line_of_the_password_file_completes_the_url(tmp_path: Path, storage: str, content: str) -> None:
    settings = from_file(tmp_path, storage, content)
    assert settings.storage is not None
    assert parse_storage_url(settings.storage) == parse_storage_url(storage).set(password=NASTY)
    assert "p@ss" not in repr(settings)
    assert "p%40ss" not in repr(settings)


def test_spaces_belong_to_a_password(tmp_path: Path) -> None:
    assert (
        from_file(tmp_path, "postgresql://hpo@db/x", " two words \n").storage
        == "postgresql://hpo:%20two%20words%20@db/x"
    )


@pytest.mark.parametrize(
    ("content", "said"), [("", "empty"), ("\nsecret\n", "empty"), (b"\xff\xfe secret", "UTF-8"), ("se\0cret", "NUL")]
)
def test_a_file_without_a_password_is_refused_in_one_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        from_file(tmp_path, "postgresql://hpo@db/x", content)
    check_line(str(caught.value), str(tmp_path / "password"), said)


def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError) as caught:
            load_settings({"HPO_STORAGE": "postgresql://hpo@db/x", "HPO_STORAGE_PASSWORD_FILE": str(path)})
        check_line(str(caught.value), str(path), "readable")


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("", "HPO_STORAGE is not set"),
        ("postgresql://hpo:secret@db/x", "holds one"),
        ("postgresql://hpo:@db/x", "holds one"),
        ("postgresql://hpo:se@cret@db/x", "holds one"),
        ("postgresql://hpo@db/x?sslmode=require&password=secret", "holds one"),
        ("postgresql://db/x", "names none"),
        ("hpo:secret@db/x", "names none"),
        ("sqlite:///secret", "names none"),
    ],
)
def test_a_url_that_a_password_file_does_not_fit_is_refused(tmp_path: Path, storage: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        from_file(tmp_path, storage)
    check_line(str(caught.value), "HPO_STORAGE_PASSWORD_FILE", said)


def check_line(message: str, *said: str) -> None:
    assert all(part in message for part in said), message
    assert "secret" not in message
    assert "\n" not in message
    assert ": " in message


def test_a_trial_computes_on_the_card_it_is_given_unless_a_person_has_chosen_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    compute_on("GPU-b")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    compute_on("GPU-b")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-b"
