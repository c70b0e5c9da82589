"""Policies for tests, from the shipped routes and the tables that a test adds."""

from __future__ import annotations

from policies.document import PolicyDocument, load
from policies.engine import Policy, compile_policy
from policies.world import World
from tests.factories import a_world

#: Everything over WhatsApp, then SMS.
ROUTES = """
[[routes]]
name = "any"
plan = [{ channel = "whatsapp" }, { channel = "sms" }]
"""


def a_document(guards: str = "", routes: str = ROUTES) -> PolicyDocument:
    """A document of these tables."""
    return load(f'version = "test"\n{guards}\n{routes}', "test.toml")


def a_policy(guards: str = "", routes: str = ROUTES, world: World | None = None) -> Policy:
    """Compiled."""
    return compile_policy(a_document(guards, routes), world or a_world())
