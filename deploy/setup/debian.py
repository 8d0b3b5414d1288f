"""Fetch Debian packages from the mirror this machine already uses, without root and without installing anything.

apt runs on a state of its own in a scratch folder: the machine's package lists, cache and locks are neither needed nor
touched, and sources other than the Debian mirror are not asked.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCES = Path("/etc/apt")
MIRROR = re.compile(r"[a-z+]+:/\S*?/debian(\.list)?/?(?=\s|$)")
SECURITY_MIRROR = re.compile(r"[a-z+]+:/\S*?debian-security(\.list)?/?(?=\s|$)")
APT_LIMIT_S = 600
"""A package index is about ten megabytes; on a slow line ten minutes are ample, and a dead mirror is reported."""


class FetchError(Exception):
    """A package or a package list could not be had; the message says which and what apt said."""


def _first_address(pattern: re.Pattern[str], folder: Path) -> str | None:
    """Return the first mirror in the machine's sources that `pattern` matches, in apt's own order of files."""
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix not in {".list", ".sources"} or not file.is_file():
            continue
        for line in file.read_text("utf-8", "replace").splitlines():
            if not line.lstrip().startswith("#") and (match := pattern.search(line)):
                return match[0]
    return None


def source_lines(suite: str, *, security: bool, folder: Path = SOURCES) -> list[str]:
    """Return the lines of a sources.list for `suite` on the machine's mirror, with its security suite where configured.

    Raises:
        FetchError: no Debian mirror is configured.
    """
    mirror = _first_address(MIRROR, folder)
    if mirror is None:
        raise FetchError(f"no Debian mirror is configured under {folder}")
    signed_by = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    lines = [f"deb {signed_by}{mirror} {suite} main"]
    if security and (address := _first_address(SECURITY_MIRROR, folder)):
        lines.append(f"deb {signed_by}{address} {suite}-security main")
    return lines


def installed_packages() -> frozenset[str]:
    """Return the names of the packages that are installed on this machine."""
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"], capture_output=True, text=True, check=False
    ).stdout
    return frozenset(line.split()[0] for line in shown.splitlines() if line.endswith(" installed"))


class Apt:
    """One suite of the Debian mirror, read through apt with all state in `scratch`. Call `update` first."""

    def __init__(self, scratch: Path, suite: str, *, security: bool) -> None:
        self._scratch = scratch
        self._suite = suite
        self._packages = scratch / "packages"
        for name in ("lists/partial", "cache/archives/partial", "parts", "packages"):
            (scratch / name).mkdir(parents=True, exist_ok=True)
        (scratch / "status").touch()
        lines = source_lines(suite, security=security)
        (scratch / "sources.list").write_text("".join(f"{line}\n" for line in lines), "utf-8")
        settings = {
            "Dir::Etc::sourcelist": f"{scratch}/sources.list",
            "Dir::Etc::sourceparts": f"{scratch}/parts",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": f"{scratch}/parts",
            "Dir::State::lists": f"{scratch}/lists",
            # An empty status: what this machine has installed must not decide which version is fetched.
            "Dir::State::status": f"{scratch}/status",
            "Dir::Cache": f"{scratch}/cache",
            # Root's apt would drop to a user that may not write below a home folder.
            "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
            "APT::Default-Release": "",
            "APT::Update::Pre-Invoke": "",
            "APT::Update::Post-Invoke": "",
            "APT::Update::Post-Invoke-Success": "",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Acquire::http::Timeout": "60",
        }
        self._options = [text for name, value in settings.items() for text in ("-o", f"{name}={value}")]

    def _run(self, command: str, *arguments: str) -> str:
        line = [command, "-q", *self._options, *arguments]
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        try:
            done = subprocess.run(
                line,
                cwd=self._packages,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=APT_LIMIT_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise FetchError(f"{command} is not on this machine") from error
        except subprocess.TimeoutExpired as error:
            raise FetchError(f"{command} {arguments[0]} took longer than {APT_LIMIT_S} s") from error
        # `apt-get update` answers 0 even when the mirror could not be reached; only its messages tell.
        unread = arguments[0] == "update" and re.search(
            r"^[EW]: .*(Failed to fetch|Some index files)", done.stderr, re.M
        )
        if done.returncode != 0 or unread:
            raise FetchError(f"{command} {' '.join(arguments)} ({self._suite}): {done.stderr.strip()}")
        return done.stdout

    def update(self) -> None:
        """Fetch the suite's package lists. Raises FetchError."""
        self._run("apt-get", "update")

    def libraries_of(self, package: str) -> list[str]:
        """Return the library packages that `package` depends on; of alternatives the first, which is Debian's own."""
        record = self._run("apt-cache", "show", "--no-all-versions", package)
        depends = re.findall(r"^(?:Pre-)?Depends: (.*)$", record, re.M)
        names = (clause.split("|")[0].split("(")[0].split(":")[0].strip() for clause in ", ".join(depends).split(","))
        return [name for name in names if name.startswith("lib")]

    def with_libraries(self, packages: Iterable[str], present: frozenset[str]) -> list[str]:
        """Return `packages` and every library package they need, directly or not, that is not in `present`."""
        wanted, waiting = list[str](), list(packages)
        while waiting:
            name = waiting.pop()
            if name not in wanted:
                wanted.append(name)
                waiting += [needed for needed in self.libraries_of(name) if needed not in present]
        return sorted(wanted)

    def fetch(self, packages: Iterable[str], root: Path) -> dict[str, str]:
        """Download `packages` and unpack them below `root`; return their names with the versions. Raises FetchError."""
        names = sorted(packages)
        self._run("apt-get", "download", *names)
        versions = {}
        root.mkdir(parents=True, exist_ok=True)
        for file in sorted(self._packages.glob("*.deb")):
            subprocess.run(["dpkg", "-x", file, root], check=True, timeout=APT_LIMIT_S)
            fields = subprocess.run(
                ["dpkg-deb", "-W", "--showformat=${Package} ${Version}", file],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
            versions[fields[0]] = fields[1]
            file.unlink()
        return versions

    def remove(self) -> None:
        """Delete the scratch folder with the package lists: they are the largest part and not needed again."""
        shutil.rmtree(self._scratch, ignore_errors=True)


def describe(versions: Mapping[str, str]) -> str:
    """Return one line naming packages and versions, for people."""
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
