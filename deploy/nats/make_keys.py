"""Makes an NKey for every user of accounts.conf: `python deploy/nats/make_keys.py FOLDER [USER ...]`.

Writes a file with the seed of each user, readable by its owner alone, and `public.env` with the public keys of all that
have one in the folder, which the server's configuration takes from its environment; and `cluster.env`, readable by its
owner alone, with the secret by which the servers of a cluster know each other. What is there already is kept.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

import nkeys

USERS = ("router", "operator", "system", "shop", "crm")
_CLUSTER = "cluster.env"


def make(folder: Path, users: tuple[str, ...] = USERS) -> dict[str, str]:
    """Public keys by the name of the variable that the server reads: of these users, and of those made before."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for user in users:
        _write_once(folder / f"{user}.nk", nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER))
    # It begins with a letter: the server reads a variable as it reads its configuration, and takes digits for a number.
    _write_once(folder / _CLUSTER, f"NATS_CLUSTER_PASSWORD=p{secrets.token_hex(24)}\n".encode())
    keys = {variable(file.stem): _public(file) for file in sorted(folder.glob("*.nk"))}
    (folder / "public.env").write_text("".join(f"{name}={key}\n" for name, key in keys.items()))
    return keys


def variable(user: str) -> str:
    """What the server's configuration calls this user's public key."""
    return re.sub(r"[^A-Z0-9]", "_", user.upper()) + "_NKEY"


def _write_once(file: Path, content: bytes) -> None:
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(content)


def _public(file: Path) -> str:
    pair = nkeys.from_seed(bytearray(file.read_bytes().strip()))
    return pair.public_key.decode()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python deploy/nats/make_keys.py FOLDER [USER ...]")
    for name, key in make(Path(sys.argv[1]), tuple(sys.argv[2:]) or USERS).items():
        sys.stdout.write(f"{name}={key}\n")
