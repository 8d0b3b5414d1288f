"""Fetch the servers that demo and tests run against, as Debian packages, and unpack them below `.cache/servers`.

Nothing is installed and no daemon starts. Afterwards stand there:

    bin/          etcd etcdctl (the newest obtained) sshd sftp-server haproxy proftpd, ssh sftp ssh-keygen, ip
    root/bin/     busybox, whose tools stand for those of a small appliance
    etcd-3.4/     etcd etcdctl of Debian 12
    etcd-newest/  etcd etcdctl of Debian unstable, if it could be had
    versions.json what was fetched, and why something is missing

Run it again and it does nothing, unless the list of packages has changed since. `--force` fetches anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from debian import Apt, FetchError, describe, installed_packages

REPOSITORY = Path(__file__).resolve().parents[2]
BASE_SUITE = "bookworm"
NEWEST_SUITES = ("sid", "trixie")
"""Where a newer etcd is looked for, best first. etcd needs nothing but libc, so it runs on Debian 12 as well."""
LAYOUT = 3
"""Raise it when what is fetched or how it is laid out changes: then everything is fetched anew."""
SSH_CLIENT = ("ssh", "sftp", "scp", "ssh-keygen")


class Server(NamedTuple):
    """One program: the package it comes in, and its path in there."""

    package: str
    path: str


SERVERS = {
    "sshd": Server("openssh-server", "usr/sbin/sshd"),
    "sftp-server": Server("openssh-sftp-server", "usr/lib/openssh/sftp-server"),
    "haproxy": Server("haproxy", "usr/sbin/haproxy"),
    "proftpd": Server("proftpd-core", "usr/sbin/proftpd"),
}
CLIENTS = {name: Server("openssh-client", f"usr/bin/{name}") for name in SSH_CLIENT}
NETWORK = {"ip": Server("iproute2", "bin/ip")}
"""Makes the networks of tests that cut one node off; bare machines have none."""

WRAPPER = """\
#!/bin/sh
# Runs a program unpacked from a Debian package with the libraries that were unpacked beside it.
servers=$(dirname "$(dirname "$(readlink -f "$0")")")
export LD_LIBRARY_PATH="{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
{before}exec "$servers/root/{path}" {options}"$@"
"""

# As root, sshd insists on a user `sshd` and an empty folder /run/sshd, which installing it would have made. The user is
# shown to sshd alone, by a preloaded library; the folder is made in /run, which is emptied at every boot anyway.
SSHD_AS_ROOT = """\
if [ "$(id -u)" = 0 ]; then
    [ -d /run/sshd ] || mkdir -m 0755 /run/sshd
    if ! getent passwd sshd >/dev/null; then
        names=$(mktemp -d "$servers/names.XXXXXX")
        { getent passwd; echo 'sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin'; } >"$names/passwd"
        mv -f "$names/passwd" "$servers/passwd" && rmdir "$names"
        export LD_PRELOAD="$servers/{nss_wrapper}" NSS_WRAPPER_PASSWD="$servers/passwd" NSS_WRAPPER_GROUP=/etc/group
    fi
fi
"""


def library_folders(root: Path) -> list[str]:
    """Return the folders below `root` that hold shared libraries, relative to `root`."""
    found = {file.parent for pattern in ("usr/lib/*/*.so*", "lib/*/*.so*") for file in root.glob(pattern)}
    return sorted(str(folder.relative_to(root)) for folder in found)


def write_wrapper(servers: Path, name: str, server: Server) -> None:
    """Write bin/`name`: a script that runs the unpacked program with the unpacked libraries."""
    root = servers / "root"
    libraries = ":".join(f"$servers/root/{folder}" for folder in library_folders(root))
    before = options = ""
    if name == "sshd":
        preload = next(iter(root.glob("usr/lib/*/libnss_wrapper.so")), None)
        before = SSHD_AS_ROOT.replace("{nss_wrapper}", str(preload.relative_to(servers)) if preload else "")
    if name in {"sftp", "scp"}:
        options = '-S "$servers/bin/ssh" '  # It would run /usr/bin/ssh, which is not there.
    text = WRAPPER.format(libraries=libraries, before=before, path=server.path, options=options)
    file = servers / "bin" / name
    file.write_text(text, "utf-8")
    file.chmod(0o755)


def link(link_path: Path, target: Path) -> None:
    """Let `link_path` point to `target`; relative inside the servers' folder, so that the checkout may be moved."""
    link_path.parent.mkdir(parents=True, exist_ok=True)
    link_path.unlink(missing_ok=True)
    inside = target.is_relative_to(link_path.parents[1])
    link_path.symlink_to(os.path.relpath(target, link_path.parent) if inside else target)


def has_ip() -> bool:
    """Say whether the machine has `ip`, which is often not on the PATH of others than root."""
    return shutil.which("ip", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") is not None


def fetch_base(servers: Path, scratch: Path) -> dict[str, str]:
    """Fetch Debian 12's etcd, OpenSSH, HAProxy and ProFTPD with the libraries this machine lacks. Raises FetchError."""
    apt = Apt(scratch, BASE_SUITE, security=True)
    apt.update()
    etcd = apt.fetch(["etcd-server", "etcd-client"], servers / "etcd-root")
    for name in ("etcd", "etcdctl"):
        link(servers / "etcd-3.4" / name, servers / "etcd-root/usr/bin" / name)
        link(servers / "bin" / name, servers / "etcd-root/usr/bin" / name)
    programs = dict(SERVERS)
    if not all(shutil.which(name) for name in SSH_CLIENT):
        programs |= CLIENTS
    if not has_ip():
        programs |= NETWORK
    wanted = {server.package for server in programs.values()} | {
        "libnss-wrapper",
        "busybox-static",
        "proftpd-mod-crypto",
    }
    versions = etcd | apt.fetch(apt.with_libraries(wanted, installed_packages()), servers / "root")
    for name, server in programs.items():
        write_wrapper(servers, name, server)
    for name in SSH_CLIENT:
        if name not in programs:
            link(servers / "bin" / name, Path(str(shutil.which(name))))
    apt.remove()
    return versions


def fetch_newest_etcd(servers: Path, scratch: Path) -> dict[str, str]:
    """Fetch the newest etcd that the mirror has and make it the default. Raises FetchError."""
    failures = []
    for suite in NEWEST_SUITES:
        apt = Apt(scratch / suite, suite, security=False)
        root = servers / "etcd-newest-root"
        try:
            apt.update()
            versions = apt.fetch(["etcd-server", "etcd-client"], root)
            subprocess.run([root / "usr/bin/etcd", "--version"], check=True, capture_output=True, timeout=30)
        except (FetchError, OSError, subprocess.SubprocessError) as error:
            failures.append(str(error))
            print(f"setup: not from Debian {suite}: {error}", flush=True)
            shutil.rmtree(root, ignore_errors=True)
            continue
        finally:
            apt.remove()
        for name in ("etcd", "etcdctl"):
            link(servers / "etcd-newest" / name, root / "usr/bin" / name)
            link(servers / "bin" / name, root / "usr/bin" / name)
        return versions
    raise FetchError("; ".join(failures))


def missing_libraries(servers: Path) -> list[str]:
    """Return what the dynamic linker does not find for the unpacked programs: `program: library`."""
    missing = []
    environment = os.environ | {
        "LD_LIBRARY_PATH": ":".join(str(servers / "root" / folder) for folder in library_folders(servers / "root"))
    }
    for name, server in (SERVERS | CLIENTS | NETWORK).items():
        program = servers / "root" / server.path
        if program.exists():
            shown = subprocess.run(
                ["ldd", program], env=environment, capture_output=True, text=True, check=False
            ).stdout
            missing += [f"{name}: {line.split()[0]}" for line in shown.splitlines() if "not found" in line]
    return missing


def fetch(servers: Path) -> None:
    """Fetch everything into a new folder and put it in the place of `servers` when complete. Raises FetchError."""
    building = servers.with_name(servers.name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    (building / "bin").mkdir(parents=True)
    scratch = servers.with_name("apt")
    shutil.rmtree(scratch, ignore_errors=True)
    print(
        f"setup: fetching etcd, OpenSSH, HAProxy and ProFTPD of Debian 12 into {servers} (unpacked, not installed)",
        flush=True,
    )
    versions = fetch_base(building, scratch / BASE_SUITE)
    print(f"setup: unpacked {describe(versions)}", flush=True)
    report: dict[str, object] = {"layout": LAYOUT, "debian-12": versions}
    print("setup: fetching the newest etcd that the mirror has", flush=True)
    try:
        newest = fetch_newest_etcd(building, scratch)
    except FetchError as error:
        report["etcd-newest-missing"] = str(error)
        print(f"setup: no newer etcd could be had, Debian 12's serves alone: {error}", flush=True)
    else:
        report["etcd-newest"] = newest
        print(f"setup: unpacked {describe(newest)}", flush=True)
    if lacking := missing_libraries(building):
        raise FetchError(f"libraries are missing: {', '.join(lacking)}")
    (building / "versions.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(servers, ignore_errors=True)
    building.rename(servers)


def is_fetched(servers: Path) -> bool:
    """Say whether the servers stand there as this script would fetch them."""
    try:
        report = json.loads((servers / "versions.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(report.get("layout") == LAYOUT) and (has_ip() or (servers / "bin" / "ip").exists())


def main() -> int:
    """Fetch what is missing; the exit code is 1 if something that demo and tests need could not be had."""
    parser = argparse.ArgumentParser(description="Fetch the servers that demo and tests run against.")
    parser.add_argument("--force", action="store_true", help="fetch anew even if all is there")
    parser.add_argument("--into", type=Path, default=REPOSITORY / ".cache" / "servers", metavar="FOLDER")
    options = parser.parse_args()
    servers = options.into.absolute()
    if is_fetched(servers) and not options.force:
        return 0
    try:
        fetch(servers)
    except FetchError as error:
        print(f"setup: {error}", file=sys.stderr)
        print("setup: see README, 'What is fetched', for how to use servers of your own", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
