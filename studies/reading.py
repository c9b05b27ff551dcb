"""Reading specifications: built-in ones by name, files with the line of every mistake."""

import difflib
from collections.abc import Hashable, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from studies.errors import SpecError
from studies.spec import Spec

DEFAULT_STUDY = "itransformer-a200"


def built_in_names() -> tuple[str, ...]:
    """Names of the studies that come with the package."""
    files = resources.files("studies").joinpath("catalog").iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


def read_spec(study: str, overrides: Mapping[str, Any] | None = None) -> Spec:
    """Return the built-in study of that name, or the one in a YAML file, with overrides on top.

    Args:
        study: a built-in name, or the path of a YAML file.
        overrides: nested values that replace those of the file, as the command line gives them.

    Raises:
        SpecError: there is no such study or file, it is not YAML, or a key or value is wrong.
    """
    path = _locate(study)
    text = _text(path)
    tree = _parse(text, path.name)
    values = _merge(_with_absolute_path(tree, Path(str(path)).parent), overrides or {})
    _refuse_phase2(values, text, path.name, overrides or {})
    try:
        return Spec.model_validate(values)
    except ValidationError as error:
        raise SpecError(_explain(error, text, path.name, overrides or {})) from None


def _locate(study: str) -> Traversable | Path:
    if study in built_in_names():
        return resources.files("studies").joinpath("catalog", f"{study}.yaml")
    path = Path(study)
    if path.is_file():
        return path
    if path.suffix in {".yaml", ".yml"} or "/" in study:
        raise SpecError(f"no file {study}: give the path of a study's YAML, or a name: {', '.join(built_in_names())}")
    close = difflib.get_close_matches(study, built_in_names(), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise SpecError(f"unknown study {study!r}: {hint}built in are {', '.join(built_in_names())}; or give a YAML file")


def _text(path: Traversable | Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise SpecError(f"{path.name} can't be read as UTF-8 text ({error}): save it as UTF-8") from None


class _OnceLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} stands here twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        tree = yaml.load(text, _OnceLoader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise SpecError(f"{origin}{line} is not YAML: {getattr(error, 'problem', error)}: mend the file") from None
    if not isinstance(tree, dict):
        raise SpecError(f"{origin} must be a mapping of keys to values, not {type(tree).__name__}: see hpo schema")
    return tree


def _with_absolute_path(tree: dict[str, Any], base: Path) -> dict[str, Any]:
    """A data path in a file is relative to that file, so that a study runs from any directory."""
    data = tree.get("data")
    if isinstance(data, dict) and isinstance(data.get("path"), str):
        return {**tree, "data": {**data, "path": str((base / data["path"]).resolve())}}
    return tree


def _merge(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in overrides.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def _refuse_phase2(values: Mapping[str, Any], text: str, origin: str, overrides: Mapping[str, Any]) -> None:
    """Refuse what makes a study one of Phase 2: such a study needs the one that it supplements in the storage."""
    for key, is_written in (
        ("supplementary", values.get("supplementary") is not None),
        ("name", "/" in str(values.get("name"))),
    ):
        if is_written:
            what = "supplementary" if key == "supplementary" else f"a slash in name {values['name']!r}"
            place = "command line" if key in overrides else _place(text, origin, (key,))
            raise SpecError(f"{place}: {what} is written by `hpo phase2`: leave it out")


def _explain(error: ValidationError, text: str, origin: str, overrides: Mapping[str, Any]) -> str:
    """Return one line for the first mistake: file, line, key, rule, value and remedy."""
    first = error.errors(include_url=False)[0]
    keys = tuple(part for part in first["loc"] if not (isinstance(part, str) and part.startswith("function-")))
    key = ".".join(str(part) for part in keys)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    place = "command line" if _holds(overrides, keys) else _place(text, origin, keys)
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown key {key!r}{_nearest_key(keys)}: hpo schema lists the keys{more}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{place}: {f'{key}: ' if key else ''}{message}{more}"
    rule = message.removeprefix("Input ").removeprefix("String ").split(", unable")[0]
    if first["type"] == "missing":
        return f"{place}: the key {key!r} is missing: add it, hpo schema says how{more}"
    return f"{place}: {key} {rule}, not {first['input']!r}: correct the value{more}"


def _holds(values: object, keys: Sequence[Any]) -> bool:
    """Whether a mistake comes from the command line: its key, or all of the study's, is set there."""
    for key in keys:
        if not isinstance(values, Mapping):
            return True
        if key not in values:
            return False
        values = values[key]
    return bool(keys) or bool(values)


def _nearest_key(keys: Sequence[Any]) -> str:
    model: Any = Spec
    for part in keys[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return ""
    close = difflib.get_close_matches(str(keys[-1]), model.model_fields, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _place(text: str, origin: str, keys: Sequence[Any]) -> str:
    """Return `file line N` of the deepest key on the way that the file holds."""
    node: yaml.Node | None = yaml.compose(text)
    line = None
    for part in keys:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == str(part)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return f"{origin} line {line}" if line else origin
