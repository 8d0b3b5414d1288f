"""The confined folder against everything that has led out of such folders elsewhere. Real file system, no mocks."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mft.files.confined import ConfinedFolder, normalized, write_fully


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    secret = tmp_path / "outside" / "secret.txt"
    secret.parent.mkdir()
    secret.write_text("secret")
    return secret


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def folder(home: Path) -> Iterator[ConfinedFolder]:
    folder = ConfinedFolder(str(home), umask=0o027)
    yield folder
    folder.close()


def refused(call: Callable[[], object]) -> int:
    """Return the errno with which the call fails; it must."""
    try:
        call()
    except OSError as error:
        return error.errno or 0
    pytest.fail("was not refused")


def names(folder: ConfinedFolder, path: bytes) -> list[bytes]:
    scan = folder.scan(path)
    try:
        return sorted(entry.name for entry in scan.batch(1000))
    finally:
        scan.close()


@given(st.lists(st.sampled_from([b"..", b".", b"", b"a", b"\xff", b"-b"])))
def test_normalized_never_leaves_the_root(parts: list[bytes]) -> None:
    """Goal: no path means anything above the root. Method: any mixture of parts, against a count of depth."""
    result = normalized(b"/".join(parts))
    assert result.startswith(b"/")
    assert b".." not in result.split(b"/")
    assert normalized(result) == result


ESCAPES = [b"link/secret.txt", b"deep/up/secret.txt", b"abs", b"rel", b"proc/root/etc/passwd", b"self-link"]


@pytest.mark.parametrize("path", ESCAPES)
def test_planted_links_lead_nowhere(folder: ConfinedFolder, home: Path, outside: Path, path: bytes) -> None:
    """Goal: links made by others, by root even, are not followed. Method: plant each kind, try each operation."""
    (home / "link").symlink_to(outside.parent)
    (home / "deep").mkdir()
    (home / "deep" / "up").symlink_to("../../outside")
    (home / "abs").symlink_to(outside)
    (home / "rel").symlink_to("../outside/secret.txt")
    (home / "proc").symlink_to("/proc/self")
    (home / "self-link").symlink_to("self-link")
    for attempt in (
        lambda: folder.open(path, os.O_RDONLY),
        lambda: folder.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        lambda: folder.stat(path),
        lambda: folder.chmod(path, 0o777),
        lambda: folder.utime(path, 0, 0),
        lambda: folder.truncate(path, 0),
        lambda: folder.scan(path),
        lambda: folder.statvfs(path),
    ):
        assert refused(attempt) in (errno.ELOOP, errno.EXDEV, errno.ENOTDIR)
    assert outside.read_text() == "secret"


def test_operations_on_names_stop_at_links(folder: ConfinedFolder, home: Path, outside: Path) -> None:
    """Goal: nothing is made, moved or removed behind a link. Method: a linked folder as parent of each operation."""
    (home / "link").symlink_to(outside.parent)
    (home / "mine").write_text("x")
    for attempt in (
        lambda: folder.mkdir(b"/link/new"),
        lambda: folder.unlink(b"/link/secret.txt"),
        lambda: folder.rmdir(b"/link/../outside"),
        lambda: folder.rename(b"/mine", b"/link/mine"),
        lambda: folder.replace(b"/link/secret.txt", b"/stolen"),
        lambda: folder.lstat(b"/link/secret.txt"),
    ):
        assert refused(attempt)
    assert [p.name for p in outside.parent.iterdir()] == ["secret.txt"]
    folder.unlink(b"/link")  # The link itself is the user's to remove.
    assert outside.exists()


def test_a_deep_link_renamed_upwards_leads_nowhere(folder: ConfinedFolder, home: Path, outside: Path) -> None:
    """Goal: a link harmless where it was made is harmless where it is moved. Method: a/b/up → ../../…, moved to /."""
    (home / "a" / "b").mkdir(parents=True)
    (home / "a" / "b" / "up").symlink_to("../..")
    folder.rename(b"/a/b/up", b"/up")
    assert refused(lambda: folder.scan(b"/up"))
    assert refused(lambda: folder.open(b"/up/outside/secret.txt", os.O_RDONLY))


def test_a_race_of_folder_and_link_never_leads_out(folder: ConfinedFolder, home: Path, outside: Path) -> None:
    """Goal: no moment between check and use. Method: swap a folder for a link outwards while opening through it."""
    (home / "real").mkdir()
    (home / "real" / "secret.txt").write_text("mine")
    (home / "bait").symlink_to(outside.parent)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for source in ("real", "bait"):
                os.rename(home / source, home / "now")
                os.rename(home / "now", home / source)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: set[bytes] = set()
    try:
        for _ in range(3000):
            try:
                fd = folder.open(b"now/secret.txt", os.O_RDONLY)
            except OSError:
                continue
            seen.add(os.read(fd, 100))
            os.close(fd)
    finally:
        over.set()
        swapper.join()
    assert b"secret" not in seen


def test_dot_dot_stops_at_the_root(folder: ConfinedFolder, home: Path) -> None:
    """Goal: `..` cannot climb. Method: make files by climbing paths and see where they are."""
    os.close(folder.open(b"/../../../x", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    folder.mkdir(b"d")
    folder.rename(b"d/../../x", b"/d/../../../d/y")
    assert (home / "d" / "y").exists()
    assert names(folder, b"..") == [b"d"]


def test_names_are_bytes(folder: ConfinedFolder) -> None:
    """Goal: any name survives. Method: invalid UTF-8, newline, leading dash, 255 bytes."""
    wanted = sorted([b"\xff\xfe", b"a\nb", b"-rf", b"x" * 255, "é".encode()])
    for name in wanted:
        os.close(folder.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    assert names(folder, b"/") == wanted
    with pytest.raises(OSError, match="zero byte"):
        folder.open(b"a\0b", os.O_RDONLY)
    assert refused(lambda: folder.open(b"x" * 256, os.O_RDONLY)) == errno.ENAMETOOLONG


def test_rename_keeps_and_replace_replaces(folder: ConfinedFolder, home: Path) -> None:
    """Goal: `rename` loses nothing, `replace` is atomic. Method: both onto an existing file and folder."""
    (home / "a").write_text("a")
    (home / "b").write_text("b")
    (home / "d").mkdir()
    (home / "e").mkdir()
    for old, new in ((b"a", b"b"), (b"a", b"d"), (b"d", b"e"), (b"d", b"a")):
        with pytest.raises(FileExistsError):
            folder.rename(old, new)
    folder.replace(b"a", b"b")
    assert (home / "b").read_text() == "a"
    for old, new in ((b"/", b"/x"), (b"b", b"/")):
        assert refused(partial(folder.rename, old, new)) == errno.EBUSY
        assert refused(partial(folder.replace, old, new)) == errno.EBUSY
    assert refused(lambda: folder.rmdir(b"/")) == errno.EBUSY


def test_permissions_are_the_servers(home: Path) -> None:
    """Goal: the umask of the config rules, the process's does not. Method: a looser one under a stricter process."""
    (home / "shared").mkdir()
    (home / "shared").chmod(0o2770)
    before = os.umask(0o077)
    try:
        folder = ConfinedFolder(str(home), umask=0o007)
        os.close(folder.open(b"f", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o4666))
        folder.mkdir(b"d")
        folder.mkdir(b"shared/d")
        folder.chmod(b"f", 0o6777)
        folder.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((home / "f").stat().st_mode) == 0o770
    assert stat.S_IMODE((home / "d").stat().st_mode) == 0o770
    assert stat.S_IMODE((home / "shared" / "d").stat().st_mode) == 0o2770


def test_only_regular_files_open(folder: ConfinedFolder, home: Path) -> None:
    """Goal: a pipe does not hang a session, a folder is no file. Method: open each, both ways."""
    os.mkfifo(home / "pipe")
    (home / "d").mkdir()
    for path in (b"pipe", b"d", b"/"):
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
            assert refused(partial(folder.open, path, flags))


def test_a_full_disk_is_an_error_not_a_short_file() -> None:
    """Goal: what cannot be stored is never acknowledged. Method: the kernel's own always-full device."""
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        assert refused(lambda: write_fully(fd, b"x" * 100_000, 0)) == errno.ENOSPC
    finally:
        os.close(fd)


def test_a_short_write_goes_on(tmp_path: Path) -> None:
    """Goal: a write that the kernel takes in part is continued and then fails. Method: a limit on the file's size."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    fd = os.open(tmp_path / "f", os.O_WRONLY | os.O_CREAT)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, before[1]))
        assert refused(lambda: write_fully(fd, b"x" * 100_000, 0)) == errno.EFBIG
        assert os.fstat(fd).st_size == 70_000
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
        os.close(fd)


def test_a_missing_root_is_made_only_when_asked(tmp_path: Path) -> None:
    """Goal: storage that is not mounted is not mistaken for an empty home. Method: with and without `create`."""
    with pytest.raises(FileNotFoundError):
        ConfinedFolder(str(tmp_path / "no" / "home"), umask=0o027)
    ConfinedFolder(str(tmp_path / "no" / "home"), umask=0o027, create=True).close()
    assert (tmp_path / "no" / "home").is_dir()


def test_no_descriptor_is_left_behind(folder: ConfinedFolder, home: Path) -> None:
    """Goal: failures leak nothing. Method: count this process's descriptors around many failing operations."""
    (home / "f").write_text("")
    os.mkfifo(home / "pipe")
    before = len(os.listdir("/proc/self/fd"))
    for attempt in (
        lambda: folder.open(b"pipe", os.O_RDONLY),
        lambda: folder.mkdir(b"f"),
        lambda: folder.rename(b"f", b"gone/f"),
        lambda: folder.scan(b"f"),
        lambda: folder.stat(b"gone"),
    ):
        assert refused(attempt)
    assert len(os.listdir("/proc/self/fd")) == before


def test_hidden_name_is_neither_listed_nor_reached(tmp_path: Path) -> None:
    """Goal: clients never touch sources on their way to a partner. Method: every kind of access to the hidden name."""
    taken = tmp_path / "out" / ".mft" / "one"
    taken.mkdir(parents=True)
    (taken / "report.csv").write_bytes(b"content")
    (tmp_path / "out" / "free.txt").write_bytes(b"free")
    folder = ConfinedFolder(str(tmp_path), umask=0o022, hidden=b".mft")
    try:
        scan = folder.scan(b"/out")
        assert [entry.name for entry in scan.batch(10)] == [b"free.txt"]
        scan.close()
        for path in (b"/out/.mft", b"/out/.mft/one/report.csv", b"/out/x/../.mft/one"):
            for call in (folder.stat, folder.lstat, folder.scan, folder.mkdir, folder.rmdir, folder.unlink):
                with pytest.raises(PermissionError):
                    call(path)
            with pytest.raises(PermissionError):
                folder.open(path, os.O_RDONLY)
            with pytest.raises(PermissionError):
                folder.replace(b"/out/free.txt", path)
            with pytest.raises(PermissionError):
                folder.rename(path, b"/out/mine")
        assert (taken / "report.csv").read_bytes() == b"content"
    finally:
        folder.close()
