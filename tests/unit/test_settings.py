"""What the environment may say, and what it may not."""

from pathlib import Path

import pytest

from budgets.errors import InputError
from hpo.settings import Settings, load_settings


def test_nothing_set_gives_the_defaults() -> None:
    settings = load_settings({})
    assert settings.home.is_absolute()
    assert settings.home.name == "hpo"
    assert settings == Settings(settings.home, None, 5.0, 60.0, 1.0)


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
    assert load_settings(dict.fromkeys(names, "")) == load_settings({})


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
