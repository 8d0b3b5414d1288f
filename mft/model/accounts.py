"""`[accounts.ID]`: who may log in. The id is the user name."""

from __future__ import annotations

from mft.model.spec import PasswordHash, Spec


class AccountSpec(Spec, frozen=True, kw_only=True):
    """One account. With neither password nor key nobody can log in to it."""

    enabled: bool = True
    description: str = ""
    password: PasswordHash | None = None
    ssh_authorized_keys: tuple[str, ...] = ()
    """Public keys, each one line as in OpenSSH's authorized_keys, without options."""
    home_folder_path: str
    """Absolute path on storage that all nodes share; the session sees it as `/` and nothing outside it."""
    create_home_folder: bool = True
    """Make a missing home folder at login. Off where a missing folder means that storage is not mounted."""
