"""The 18 configurations that every side trains: the quickstart's 11 forced ones, and 7 such as TPE proposes."""

from typing import Any, Final

from budgets import generate_forced_configs

Configuration = dict[str, Any]

# Learning rates, dropouts and decays of the demo's proposals, over shapes such that each of the four comes up.
_PROPOSED: Final = (
    ("750k", "shallow", 0.61, 7.2e-4, 8.8e-4),
    ("750k", "shallow", 0.46, 6.1e-4, 3.8e-3),
    ("750k", "deep", 0.37, 7.4e-4, 7.0e-3),
    ("750k", "deep", 0.2, 3.0e-4, 2.0e-3),
    ("2M", "deep", 0.4, 2.5e-4, 3.9e-3),
    ("2M", "deep", 0.3, 7.0e-4, 5.0e-3),
    ("2M", "shallow", 0.19, 7.7e-4, 4.4e-3),
)
_NAMES: Final = ("budget", "style", "dropout", "learning_rate", "weight_decay")


def all_configurations() -> list[Configuration]:
    """Return the 18, in the names of our space."""
    forced = [dict(each.params) for each in generate_forced_configs(("750k", "2M"))]
    return forced + [dict(zip(_NAMES, values, strict=True)) for values in _PROPOSED]


def in_pairs() -> list[list[Configuration]]:
    """Return the 18 in nine pairs of equal or similar shapes: of two processes neither waits long for the other."""
    order = [("2M", "deep"), ("2M", "shallow"), ("750k", "shallow"), ("750k", "deep")]
    by_shape = sorted(all_configurations(), key=lambda each: order.index(_shape(each)))
    return [by_shape[place : place + 2] for place in range(0, len(by_shape), 2)]


def key_of(params: Configuration) -> tuple[Any, ...]:
    """Return what tells two configurations apart."""
    return tuple(params[name] for name in _NAMES)


def _shape(configuration: Configuration) -> tuple[str, str]:
    return configuration["budget"], configuration["style"]
