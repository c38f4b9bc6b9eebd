"""The connection file's key, accepted beside Jupyter's own authentication and only by our own handlers.

A kernel has no cookie, and under a password or a Hub there is no token that it could have. The key stands in a file of
mode 0600 (`connection.py`) and opens nothing of Jupyter but the routes of this project.
"""

from __future__ import annotations

import hmac
from typing import Any

from jupyter_server.auth import IdentityProvider, User

SCHEME = "rmx "


class KeyIdentity(IdentityProvider):
    """Knows one user: whoever has the key. Counts as a token, so no XSRF cookie is asked for (as Jupyter does)."""

    def __init__(self, owner: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._owner = owner

    def get_user(self, _handler: Any) -> User:
        """The owner of the machines."""
        return User(username=self._owner)

    def is_token_authenticated(self, _handler: Any) -> bool:
        """True: a browser does not send this header by itself."""
        return True


def has_key(authorization: str, key: str) -> bool:
    """True if the `Authorization` header carries the key; compared in constant time."""
    if not authorization.startswith(SCHEME):
        return False
    return hmac.compare_digest(authorization[len(SCHEME) :].strip().encode(), key.encode())
