"""The chain of authentication: each method accepts, rejects or does not know; the first that decides ends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from mft.model.accounts import AccountSpec


class Password(NamedTuple):
    """Somebody says that this is the account's password."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Password({self.username!r}, …)"


class PublicKey(NamedTuple):
    """Somebody holds, or says to hold, the private half of this key (wire form)."""

    username: str
    blob: bytes


Credential = Password | PublicKey


class Accepted(NamedTuple):
    """Who it is."""

    username: str
    account: AccountSpec
    method: str


class Rejected(NamedTuple):
    """Who it is not. The reason is for events; a client is told the same in all cases."""

    reason: Literal["unknown", "disabled", "credential"]


class Method(Protocol):
    """One way of finding out who somebody is."""

    async def authenticate(self, credential: Credential) -> Accepted | Rejected | None:
        """Decide, or return None for "not mine to say".

        Raises Unavailable when what it depends on cannot be asked: that is neither yes nor no.
        """


class Chain:
    """Methods in order. An outage of one ends the login without an answer: it must neither accept nor reject."""

    def __init__(self, methods: Sequence[Method]) -> None:
        self._methods = tuple(methods)

    async def authenticate(self, credential: Credential) -> Accepted | Rejected:
        """Return the first decision; nobody knowing the name is a rejection. Raises Unavailable."""
        for method in self._methods:
            decision = await method.authenticate(credential)
            if decision is not None:
                return decision
        return Rejected("unknown")
