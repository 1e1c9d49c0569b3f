"""The base of every configuration section: frozen, typed, unknown keys refused."""

import difflib
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Settings(BaseModel):
    """A frozen section of the configuration.

    An unknown key is an error that names the nearest known one; wrong types are
    pydantic's own errors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    near = difflib.get_close_matches(str(key), cls.model_fields, n=1, cutoff=0.0)
                    raise ValueError(
                        f"unknown key {key!r} in {cls.__name__}; the nearest known key is "
                        f"{near[0]!r} (known: {', '.join(cls.model_fields)})"
                    )
        return values
