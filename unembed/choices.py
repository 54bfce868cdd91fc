"""Values that callers make, and that say in one line what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from unembed.boundary import describe
from unembed.errors import InputError


class Choices(BaseModel):
    """What a caller makes by calling it, and is told of in one line, as an InputError; `model_validate` raises what
    pydantic raises, for those who read it from elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    if not TYPE_CHECKING:

        def __init__(self, **given: Any) -> None:
            try:
                super().__init__(**given)
            except ValidationError as error:
                raise InputError(describe(error, secret=("secret",), known=type(self).model_fields)) from None

        # As part of something else it is validated without being called.
        __init__.__pydantic_base_init__ = True
