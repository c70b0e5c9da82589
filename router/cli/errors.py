"""What ends a command, and how it is said."""

from __future__ import annotations


class CommandError(Exception):
    """The command cannot do what was asked; the message is one line for its user. Exit status 1."""
