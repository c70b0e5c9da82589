"""Values: frozen for whoever checks types, plain where they are made.

A frozen dataclass takes Python three times as long to make as a plain one, because each field goes through
`object.__setattr__`. A notification is dozens of values on its way, and that took an eighth of a router's time.
So mypy sees a frozen dataclass, and refuses whoever assigns to a field; Python makes a plain one that can be hashed. In
its development mode (`python -X dev`) values are frozen there too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:

    def value(*, frozen: bool, slots: bool = False) -> Callable[[type[Any]], type[Any]]:
        """Decorate like `dataclass`, always with `frozen=True`: what is not frozen is no value."""
        if not frozen:
            raise TypeError("a value is frozen; write dataclass for what is not")
        if sys.flags.dev_mode:
            return dataclass(frozen=True, slots=slots)
        return dataclass(slots=slots, unsafe_hash=True)


__all__ = ["value"]
