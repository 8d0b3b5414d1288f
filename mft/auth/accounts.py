"""The method `accounts`: who somebody is by the passwords and keys that the config holds."""

from __future__ import annotations

import hmac

from mft.aio import Latest
from mft.auth.chain import Accepted, Credential, Password, Rejected
from mft.auth.passwords import Passwords
from mft.auth.public_keys import parse_public_key
from mft.errors import Invalid
from mft.model.accounts import AccountSpec
from mft.model.config import Config


class AccountsMethod:
    """Looks the name up in the newest config at each login, so that a change of an account is live at once."""

    name = "accounts"

    def __init__(self, config: Latest[Config], passwords: Passwords) -> None:
        self._config = config
        self._passwords = passwords

    async def authenticate(self, credential: Credential) -> Accepted | Rejected | None:
        """Decide about a name in the config; None for any other, after as long as a wrong password takes."""
        account = self._config.value.accounts.get(credential.username)
        if isinstance(credential, Password):
            fits = await self._passwords.check(account.password if account else None, credential.password)
        else:
            fits = account is not None and has_key(account, credential.blob)
        if account is None:
            return None
        if not fits:
            return Rejected("credential")
        # Only who has proven to be the owner may cause an event that says "disabled".
        return Accepted(credential.username, account, self.name) if account.enabled else Rejected("disabled")


def has_key(account: AccountSpec, blob: bytes) -> bool:
    """Say whether one of the account's keys is this one. A line that cannot be read is no key of anybody's."""
    return any(hmac.compare_digest(blob, known) for known in _blobs(account))


def _blobs(account: AccountSpec) -> list[bytes]:
    blobs = []
    for line in account.ssh_authorized_keys:
        try:
            blobs.append(parse_public_key(line))
        except Invalid:
            continue
    return blobs
