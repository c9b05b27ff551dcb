"""Model families: how an architecture in the language of budgets becomes a NeuralForecast model.

Nothing here loads torch before a model is built.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from studies.families.autoformer import AUTOFORMER
from studies.families.family import Family, WindowShape
from studies.families.fedformer import FEDFORMER
from studies.families.informer import INFORMER
from studies.families.itransformer import ITRANSFORMER
from studies.families.patchtst import PATCHTST
from studies.families.tft import TFT
from studies.families.timexer import TIMEXER
from studies.families.vanillatransformer import VANILLATRANSFORMER

#: The names as a type, for checks and for the schema of a specification; a test holds it equal to `FAMILIES`.
ModelName = Literal[
    "itransformer", "patchtst", "vanillatransformer", "informer", "autoformer", "fedformer", "tft", "timexer"
]

FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        "itransformer": ITRANSFORMER,
        "patchtst": PATCHTST,
        "vanillatransformer": VANILLATRANSFORMER,
        "informer": INFORMER,
        "autoformer": AUTOFORMER,
        "fedformer": FEDFORMER,
        "tft": TFT,
        "timexer": TIMEXER,
    }
)

__all__ = ["FAMILIES", "Family", "ModelName", "WindowShape"]
