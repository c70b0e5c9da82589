"""Makes an NKey for every user of accounts.conf: `python deploy/nats/make_keys.py FOLDER`.

Writes a file with the seed of each user, readable by its owner alone, and `public.env` with the public keys, which the
server's configuration takes from its environment. A seed that is there already is kept.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import nkeys

USERS = ("router", "operator", "system", "shop", "crm")


def make(folder: Path, users: tuple[str, ...] = USERS) -> dict[str, str]:
    """Public keys by the name of the variable that the server reads."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = {f"{user.upper()}_NKEY": _public(folder / f"{user}.nk") for user in users}
    (folder / "public.env").write_text("".join(f"{name}={key}\n" for name, key in keys.items()))
    return keys


def _public(file: Path) -> str:
    if not file.exists():
        seed = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(seed)
    pair = nkeys.from_seed(bytearray(file.read_bytes().strip()))
    return pair.public_key.decode()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python deploy/nats/make_keys.py FOLDER [USER ...]")
    for name, key in make(Path(sys.argv[1]), tuple(sys.argv[2:]) or USERS).items():
        sys.stdout.write(f"{name}={key}\n")
