"""Annotations of parameters that state which values a configuration key may have.

`config.values` checks a configuration against the annotations in signatures. Nothing here imports
pydantic, so constructors called from Python do not pay for the check.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Len, Lt


class Among:
    """Metadata of a type: one of these values. For dataclasses, as OmegaConf lacks Literal.

    Args:
        values: The allowed values.
    """

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """The schema that pydantic checks."""
        from pydantic_core import core_schema

        return core_schema.literal_schema(list(self.values))


class FilledIn:
    """Metadata of a type: a configuration may hold null, and the program fills in the value."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """The schema that pydantic checks."""
        from pydantic_core import core_schema

        return core_schema.nullable_schema(handler(source))


class Written:
    """Metadata of a text: it matches a pattern.

    Args:
        pattern: A regular expression for the whole text.
        words: A description of the pattern that follows "expected" in errors.
    """

    def __init__(self, pattern: str, words: str) -> None:
        self.pattern, self.words = pattern, words

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """The schema that pydantic checks."""
        from pydantic_core import core_schema

        text = core_schema.str_schema(pattern=f"^(?:{self.pattern})$")
        return core_schema.custom_error_schema(text, "written", custom_error_message=self.words)


PositiveInt = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**63)]
Resolution = Annotated[int, Ge(4), Le(65_536)]
"""Side of an image in pixels."""
PositiveFloat = Annotated[float, Gt(0)]
Seconds = Annotated[float, Ge(0)]
Weight = Annotated[float, Ge(0)]
"""A λ, or another factor that is 0 or more."""
WeightOfF = Annotated[Weight, FilledIn()]
"""λ of the perceptual term; null: the value that belongs to the perceptual network in use."""
Share = Annotated[float, Ge(0), Le(1)]
Beta = Annotated[float, Ge(0), Lt(1)]
Betas = tuple[Beta, Beta]
"""Adam's two decay rates."""
Widths = Annotated[Sequence[PositiveInt], Len(1)]
Name = Annotated[str, Len(1)]
PathText = str | Path
"""A path, which may be any text; see `config.argv`."""
PathString = Annotated[str, "path"]
"""A path as text only, or a name that selects one."""
Norm = Annotated[str, Among("batch", "sync", "none")]
Space = Annotated[str, Among("w_plus", "w", "z")]
"""Space of the codes that an inversion optimises."""
ScheduleName = Annotated[str, Among("constant", "cosine", "ramps", "halvings")]
OnCorrupt = Literal["error", "skip"]
"""What to do with damaged and small images."""
Unit = Literal["length", "sigma"]
"""Unit of a step along a direction: length 1, or the standard deviation of codes along it."""
Film = Literal["gif", "webp", "mp4"]
