"""The command line: `pointsman`.

Each command imports what it needs when it runs, so that `pointsman --help` comes at once.
"""

from router.cli.app import main

__all__ = ["main"]
