"""What every table of the configuration is made of."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict

from router.subjects import NAME


class Section(BaseModel):
    """A table of the file; an unknown key is refused, so that a typo is seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("must match [a-z0-9][a-z0-9_-]{0,31}: it is a token of NATS subjects")
    return value


def _zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("must be an IANA time zone, for example America/Los_Angeles")
    return value


Name = Annotated[str, AfterValidator(_name)]
Zone = Annotated[str, AfterValidator(_zone)]
