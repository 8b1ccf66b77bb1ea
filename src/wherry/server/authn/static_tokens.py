"""`--token-auth-file`: a CSV of token, user, uid and optionally a quoted, comma-separated list of groups."""

import csv
from collections.abc import Sequence
from pathlib import Path

from wherry.server.authn.identity import Verified
from wherry.server.http import UserInfo


class StaticTokens:
    """Recognises the tokens of one file, read once."""

    def __init__(self, users: dict[str, UserInfo]) -> None:
        self._users = users

    @classmethod
    def read(cls, path: Path) -> "StaticTokens":
        """Raises OSError, and ValueError naming the line that has too few columns."""
        users: dict[str, UserInfo] = {}
        with path.open(newline="") as file:
            for number, row in enumerate(csv.reader(file, skipinitialspace=True), start=1):
                if not row:
                    continue
                if len(row) < 3:
                    raise ValueError(f"{path}:{number}: a token file needs at least 3 columns (token, user, uid)")
                groups = [group.strip() for group in row[3].split(",")] if len(row) > 3 and row[3] else []
                if row[0]:
                    users[row[0]] = UserInfo(row[1], row[2], groups)
        return cls(users)

    def verify(self, token: str, audiences: Sequence[str]) -> Verified | None:
        """The token's user, or None. Such tokens are for this server, whatever it is called."""
        user = self._users.get(token)
        return Verified(UserInfo(user.name, user.uid, list(user.groups))) if user else None
