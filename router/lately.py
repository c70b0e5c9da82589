"""What was seen a while ago: enough to look up what is likely to be there, and nothing more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class Lately:
    """The last so many keys: a hint, never an answer."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._keys: OrderedDict[Hashable, None] = OrderedDict()

    def seen(self, key: Hashable) -> bool:
        """Whether it came lately; from now on it did."""
        if key in self._keys:
            self._keys.move_to_end(key)
            return True
        self._keys[key] = None
        if len(self._keys) > self._size:
            self._keys.popitem(last=False)
        return False
