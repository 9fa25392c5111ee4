"""The user's token for Ray, found as Ray finds it, without loading Ray."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from maxent_ray.errors import ResourceError

TOKEN, TOKEN_PATH = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
"""Ray's variables for a token and for its file; the token wins."""
TOKEN_FILE = Path("~/.ray/auth_token")
"""File of the user's token where no variable names one."""


def user_token() -> str:
    """The token; empty where the user has none.

    Raises:
        ResourceError: the file that the user named cannot be read.
    """
    token = os.environ.get(TOKEN) or _token_in_file(os.environ.get(TOKEN_PATH, ""))
    return token.strip()


def _token_in_file(named: str) -> str:
    """First line of the file that the user named, else of Ray's; empty where Ray's is not there."""
    token = ""
    with suppress(OSError):
        file = Path(named) if named else TOKEN_FILE.expanduser()
        token = file.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    if named and not token:
        reason = f"{TOKEN_PATH} is set but file cannot be opened or is empty: {named}"
        raise ResourceError(f"Ray's token cannot be read: {reason}")
    return token
