"""Model families: how an architecture in the language of budgets becomes a NeuralForecast model."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from studies.families.family import Family, WindowShape
from studies.families.itransformer import ITRANSFORMER

FAMILIES: Final[Mapping[str, Family]] = MappingProxyType({"itransformer": ITRANSFORMER})

__all__ = ["FAMILIES", "Family", "WindowShape"]
