"""`hpo size`: how large a model is, and which shapes have a size."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from budgets import (
    Architecture,
    equal_parameter_shapes,
    largest_architecture_within,
    nearest_architecture,
    parse_budget,
    smallest_architecture_reaching,
    usual_heads,
)
from budgets.divisors import LARGEST_COUNT
from budgets.errors import InputError
from budgets.mlp import HARDWARE_TIERS, HEAD_DIMS, USE_CASES, MlpSize, hardware_tier, size_mlp
from hpo.output import Json, print_json
from studies.families import FAMILIES, Family, WindowShape

Flag = Annotated[bool, Parameter(negative="")]
Widths = Annotated[list[int] | None, Parameter(consume_multiple=True, negative="")]

_ROUNDING = {
    "nearest": nearest_architecture,
    "down": largest_architecture_within,
    "up": smallest_architecture_reaching,
}
# Features of a series, where --data-tier says how many indicators.
_TIERS = {"none": 0, "a20": 20, "a50": 50, "a100": 100, "a200": 200}
# Series of the built-in prices.
_SERIES = 2
# Rows of the curve that a terminal of 24 lines shows.
_CURVE_ROWS = 12

size = App(name="size", help="How large a model is, and which shapes have a size.", help_format="plaintext")


@size.command
def transformer(  # noqa: PLR0913  one parameter a flag
    *,
    budget: str,
    model: str = "itransformer",
    aspect: float | None = None,
    heads: int | None = None,
    multiple: int = 32,
    rounding: str = "nearest",
    window: int = 80,
    horizon: int = 1,
    data_tier: str | None = None,
    json_output: Json = False,
) -> int:
    """Solve for width and depth of a transformer of a budget, or list its shapes from wide to deep.

    hpo size transformer --budget 2M
    hpo size transformer --budget 2M --model patchtst
    hpo size transformer --budget 20M --aspect 64 --heads 8 --rounding down

    Args:
        budget: Parameters, such as 750k or 2M.
        model: Family: itransformer, patchtst, vanillatransformer, informer, autoformer, fedformer, tft or timexer.
        aspect: d_model over n_layers: large is shallow, small is deep; default: all shapes of that size.
        heads: Of the attention; default: 4, from 10M on 8, from 100M on 16; fedformer has 8.
        multiple: The width is a multiple of it as well as of the heads; 1 comes nearest to the budget.
        rounding: Of the width: nearest, down (within the budget) or up (reaching it).
        window: Rows of history, which the embedding counts.
        horizon: Rows ahead.
        data_tier: Indicators: none, a20, a50, a100 or a200; default: a20, and none for patchtst.
    """
    if rounding not in _ROUNDING:
        raise InputError(f"--rounding is nearest, down or up, not {rounding!r}: nearest is the default")
    if data_tier is not None and data_tier not in _TIERS:
        raise InputError(f"--data-tier is one of {', '.join(_TIERS)}, not {data_tier!r}: a20 is the default")
    for name, given, least in (("--window", window, 2), ("--horizon", horizon, 1)):
        if not least <= given <= LARGEST_COUNT:
            raise InputError(f"{name} is a number of rows from {least} to {LARGEST_COUNT:,}, not {given}: correct it")
    tier = data_tier or ("none" if model == "patchtst" else "a20")
    family, windows = _family(model), WindowShape(window, horizon, _SERIES, _TIERS[tier])
    parameters = parse_budget(budget)
    n_heads = (family.heads or usual_heads(parameters)) if heads is None else heads
    if aspect is None:
        found = equal_parameter_shapes(parameters, n_heads, multiple)
        shapes = _thinned(tuple(shape for shape in found if family.refusal(shape, windows) is None) or found)
    else:
        shapes = [_ROUNDING[rounding](parameters, aspect, n_heads, multiple)]
    rows = [_row(family, shape, windows, model) for shape in shapes]
    if json_output:
        print_json({"budget": parameters, "model": model, "shapes": rows})
    else:
        _print_shapes(parameters, model, rows)
    return 0


@size.command
def mlp(
    *,
    obs_dim: int = 5300,
    hidden_dims: Widths = None,
    head_dims: Widths = None,
    tier: str | None = None,
    detect: Flag = False,
    json_output: Json = False,
) -> int:
    """Count a perceptron, such as PPO's actor and critic, layer by layer.

    hpo size mlp --obs-dim 5300 --hidden-dims 1024 512 256

    Args:
        obs_dim: Inputs, such as 53 features x 100 rows.
        hidden_dims: Widths of the hidden layers; default: all tiers and use cases, side by side.
        head_dims: Widths of the heads on the last hidden layer; default: 64 64, actor and critic.
        tier: Take the hidden layers of a card: H100, A100-80GB, A100-40GB, high, medium or low.
        detect: Take those of the card in this machine.
    """
    if (hidden_dims is not None) + (tier is not None) + detect > 1:
        raise InputError("--hidden-dims, --tier and --detect each name the hidden layers: give one of them")
    if tier is not None and tier not in HARDWARE_TIERS:
        raise InputError(f"--tier is one of {', '.join(HARDWARE_TIERS)}, not {tier!r}: or give --hidden-dims")
    heads = HEAD_DIMS if head_dims is None else head_dims
    chosen = _detected_tier() if detect else tier
    dims = HARDWARE_TIERS[chosen] if chosen is not None else hidden_dims
    if dims is None:
        return _compare_mlps(obs_dim, heads, as_json=json_output)
    found = size_mlp(obs_dim, dims, heads)
    if json_output:
        print_json({"tier": chosen, **_mlp_json(found)})
    else:
        from hpo.size_view import print_mlp

        print_mlp(found, chosen)
    return 0


def _thinned(shapes: tuple[Architecture, ...]) -> list[Architecture]:
    """Return at most so many of them as a terminal shows, the widest and the deepest included."""
    if len(shapes) <= _CURVE_ROWS:
        return list(shapes)
    # Evenly on the scale of ratios: the wide shapes, a layer apart, are those that people train.
    places = {round(len(shapes) ** (i / (_CURVE_ROWS - 1))) - 1 for i in range(_CURVE_ROWS)}
    return [shapes[place] for place in sorted(places)]


def _family(model: str) -> Family:
    if model not in FAMILIES:
        raise InputError(f"--model is one of {', '.join(FAMILIES)}, not {model!r}: itransformer is the default")
    return FAMILIES[model]


def _row(family: Family, shape: Architecture, windows: WindowShape, model: str) -> dict[str, Any]:
    from dataclasses import asdict

    refused = family.refusal(shape, windows)
    if refused is not None:
        raise InputError(f"--model {model} {refused}")
    groups = family.count(shape, windows)
    return {
        **asdict(shape),
        "d_ff": shape.d_ff if family.feed_forward else None,
        "aspect": round(shape.aspect, 3),
        "estimated_params": shape.estimated_params,
        "exact_params": groups.total,
        "groups": asdict(groups),
        "weight_bytes": 4 * groups.total,
        "training_flops_per_token": round(family.training_flops(shape, windows) / family.tokens(windows)),
    }


def _print_shapes(parameters: int, model: str, rows: list[dict[str, Any]]) -> None:
    from hpo.size_view import print_shape, print_shapes

    if len(rows) == 1:
        print_shape(parameters, model, rows[0])
    else:
        print_shapes(parameters, model, rows)


def _compare_mlps(obs_dim: int, heads: Any, *, as_json: bool) -> int:  # noqa: ANN401  a sequence of widths
    named = {f"tier {name}": dims for name, dims in HARDWARE_TIERS.items()} | dict(USE_CASES)
    sizes = {name: size_mlp(obs_dim, dims, heads) for name, dims in named.items()}
    if as_json:
        print_json({name: _mlp_json(found) for name, found in sizes.items()})
    else:
        from hpo.size_view import print_mlps

        print_mlps(obs_dim, sizes)
    return 0


def _detected_tier() -> str:
    from hpo.cards import NvmlCards

    cards = NvmlCards().read()
    if not cards:
        raise InputError("--detect needs an NVIDIA card with its driver, and none is here: name a --tier")
    return hardware_tier(cards[0].name, cards[0].total_mb / 1024)


def _mlp_json(found: MlpSize) -> dict[str, Any]:
    return {
        "hidden_dims": [layer.outputs for layer in found.layers if layer.name.startswith("layer")],
        "layers": [
            {"name": each.name, "inputs": each.inputs, "outputs": each.outputs, "params": each.weights}
            | {"biases": each.biases, "share": round(found.share(each), 4)}
            for each in found.layers
        ],
        "params": found.parameters,
        "params_with_biases": found.parameters_with_biases,
        "checkpoint_bytes": found.checkpoint_bytes,
        "inference_flops": found.inference_flops,
    }
