"""Password hashes: which are accepted, that they are checked right, and that a check tells nothing by its time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mft.aio import Latest, Threads
from mft.auth.accounts import AccountsMethod
from mft.auth.chain import Accepted, Chain, Password, PublicKey, Rejected
from mft.auth.passwords import NOBODY, Passwords, hash_password, is_hash, verify
from mft.auth.public_keys import parse_public_key
from mft.errors import Invalid, Unavailable
from mft.model.accounts import AccountSpec
from mft.model.config import Config

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJQnZeZf8Q1ml0oIe1HbmC0DM0jE7FyP0hiZUEhOGGGC somebody@somewhere"


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(2, "passwords")
    yield threads
    threads.close()


def test_a_new_hash_fits_its_password_only() -> None:
    """Goal: what is stored is argon2id and fits. Method: hash, verify, verify another."""
    hashed = hash_password("päss")
    assert hashed.startswith("$argon2id$")
    assert is_hash(hashed)
    assert verify(hashed, "päss")
    assert not verify(hashed, "pass")


@pytest.mark.parametrize(
    "made",
    [
        "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA",
        "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
    ],
    ids=["sha256", "sha512"],
)
def test_old_crypt_hashes_are_checked(made: str) -> None:
    """Goal: hashes from /etc/shadow can be kept. Method: hashes that `openssl passwd -5` and `-6` have made."""
    assert is_hash(made)
    assert verify(made, "secret")
    assert not verify(made, "Secret")


@pytest.mark.parametrize(
    "text",
    [
        "secret",
        "$1$salt$hash",
        "$argon2id$",
        "$argon2i$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=9999999,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$6$rounds=999999999$saltsalt$" + "a" * 86,
        "",
    ],
)
def test_what_is_no_hash_or_a_ruinous_one(text: str) -> None:
    """Goal: clear text is never taken for a hash, and no hash makes a login cost minutes. Method: examples."""
    assert not is_hash(text)


def test_a_hash_nobody_can_check_is_an_outage() -> None:
    """Goal: a broken hash does not look like a wrong password. Method: hashes cut off or of unknown kind."""
    for broken in ("$argon2id$v=19$m=1", "$2b$12$abc", "*"):
        with pytest.raises(Unavailable):
            verify(broken, "x")


def config(**accounts: AccountSpec) -> Latest[Config]:
    return Latest(Config(accounts=accounts))


def account(**fields: object) -> AccountSpec:
    return AccountSpec(home_folder_path="/home/x", **fields)  # type: ignore[arg-type]


async def test_the_method_decides_about_its_accounts(threads: Threads) -> None:
    """Goal: right password accepted, wrong rejected, unknown not decided. Method: one account of each kind."""
    method = AccountsMethod(
        config(
            ann=account(password=hash_password("right")),
            off=account(password=hash_password("right"), enabled=False),
            key=account(ssh_authorized_keys=(KEY,)),
        ),
        Passwords(threads),
    )
    chain = Chain([method])
    accepted = await chain.authenticate(Password("ann", "right"))
    assert isinstance(accepted, Accepted)
    assert accepted.username == "ann"
    assert await chain.authenticate(Password("ann", "wrong")) == Rejected("credential")
    assert await chain.authenticate(Password("key", "")) == Rejected("credential")
    assert await chain.authenticate(Password("off", "wrong")) == Rejected("credential")
    assert await chain.authenticate(Password("off", "right")) == Rejected("disabled")
    assert await method.authenticate(Password("nobody", "right")) is None
    assert await chain.authenticate(Password("nobody", "x" * 5000)) == Rejected("unknown")
    blob = parse_public_key(KEY)
    assert isinstance(await chain.authenticate(PublicKey("key", blob)), Accepted)
    assert await chain.authenticate(PublicKey("key", blob[:-1] + b"x")) == Rejected("credential")
    assert await chain.authenticate(PublicKey("ann", blob)) == Rejected("credential")


async def test_a_changed_account_is_live_at_the_next_login(threads: Threads) -> None:
    """Goal: no login uses yesterday's config. Method: replace the config between two logins."""
    latest = config(ann=account(password=hash_password("one")))
    chain = Chain([AccountsMethod(latest, Passwords(threads))])
    latest.set(Config(accounts={"ann": account(password=hash_password("two"))}))
    assert await chain.authenticate(Password("ann", "one")) == Rejected("credential")
    assert isinstance(await chain.authenticate(Password("ann", "two")), Accepted)


async def test_an_unknown_name_takes_as_long_as_a_wrong_password(threads: Threads) -> None:
    """Goal: time does not tell which names exist. Method: the least of several tries, in turn, is near."""
    chain = Chain([AccountsMethod(config(ann=account(password=hash_password("right"))), Passwords(threads))])

    times: dict[str, list[float]] = {"ann": [], "nobody": []}
    for _ in range(6):
        for username, taken in times.items():
            started = time.perf_counter()
            await chain.authenticate(Password(username, "wrong"))
            taken.append(time.perf_counter() - started)
    known, unknown = min(times["ann"]), min(times["nobody"])
    assert 1 / 3 < known / unknown < 3, "a name that does not exist is answered without a hash being made"
    assert NOBODY.split("$")[3] == hash_password("x").split("$")[3], "the cost of a new hash has changed"


def test_a_password_is_not_in_what_is_printed() -> None:
    """Goal: no secret in a log. Method: the representation of a credential."""
    assert "hidden" not in repr(Password("ann", "hidden"))


@pytest.mark.parametrize(
    "line",
    ["", "ssh-ed25519", "ssh-dss AAAA", "ssh-ed25519 !!!!", "ssh-rsa " + KEY.split()[1], 'from="1.2.3.4" ' + KEY],
)
def test_bad_key_lines_are_explained(line: str) -> None:
    """Goal: a clear error, never a traceback. Method: lines broken in every part."""
    with pytest.raises(Invalid):
        parse_public_key(line)
