from __future__ import annotations

from tests.integration.conftest import harness, start

__all__ = ["harness", "start"]
