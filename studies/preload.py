"""What training imports, without what it never uses, and a rehearsal: for the fork server to do once, docs/adr/0025.

NeuralForecast's packages import Ray and all 37 of its models, and torchmetrics imports scipy.signal for the sake of an
old spelling. A training needs neither: they are 135 of 570 MiB and a third of the time that the import takes.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from studies.families import FAMILIES

_BY_AND_BY = tuple(f"studies.families.{name}" for name in ("attention", "equal_layers", "folding", "mending"))


class _Unopened(ModuleType):
    """A package whose modules can be imported while it is not run itself, until somebody wants something of it."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the package has
        if name.startswith("__") and name not in {"__all__", "__version__"}:
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _leave_unopened(name: str) -> None:
    if name not in sys.modules:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        package = importlib.util.module_from_spec(spec)
        package.__class__ = _Unopened
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)


@contextmanager
def _without(name: str, *attributes: str) -> Iterator[None]:
    """Let a module seem to be there, with these attributes, while others are imported that do no more than look."""
    if name in sys.modules:
        yield
        return
    seeming = sys.modules[name] = ModuleType(name)
    for attribute in attributes:
        setattr(seeming, attribute, None)
    try:
        yield
    finally:
        del sys.modules[name]
        parent, _, child = name.rpartition(".")
        vars(sys.modules[parent]).pop(child, None)


_leave_unopened("neuralforecast")
_leave_unopened("neuralforecast.models")
with _without("scipy.signal", "hamming"):
    importlib.import_module("torchmetrics")
importlib.import_module("studies.training")
for module in (*_BY_AND_BY, *(f"neuralforecast.models.{name}" for name in FAMILIES)):
    importlib.import_module(module)
importlib.import_module("studies.rehearsal").rehearse()
