"""Outbound transfers beside sftp, rclone and lftp, to one server: `python -m bench.outbound [--quick] [--json]`.

Ours is the whole product path: etcd with fsync, a controller, a node with its agent and one outbound worker, the
journal on. Every round has each program once, one after the other, and each ratio is one of medians over the rounds.
Files of both sides lie on a RAM disk where there is one (`--folder` says where), etcd's data beside the repository's
cache.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.outbound_peers import lftp, rclone, sftp
from bench.outbound_product import Product
from bench.peers import fetch_peers
from bench.report import Figure, report
from tests.rig.binaries import REPOSITORY

SMALL_BYTES = 4096
TINY_BYTES = 16
MANY_FILES = 1_000_000
"""A smaller folder shows the rates, but does not count as a measurement of the bound."""
RCLONE_TRANSFERS = (4, 8, 16, 32)
LFTP_PARALLEL = 8
RAM_DISK = Path("/dev/shm")
_MIB = 1024 * 1024

Figures = dict[str, Figure]


class Medians:
    """What each program took in each round. Shape: program → seconds."""

    def __init__(self) -> None:
        self._took: dict[str, list[float]] = {}

    async def take(self, program: str, run: Awaitable[float]) -> None:
        """Have one program run and note how long it took."""
        took = await run
        self._took.setdefault(program, []).append(took)
        print(f"  {program:12} {took:8.2f} s   load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)

    def rates(self, amount: float) -> dict[str, float]:
        """Return program → amount a second, by the median."""
        return {program: amount / statistics.median(took) for program, took in self._took.items()}


async def small_files(product: Product, count: int, rounds: int) -> tuple[Figures, dict[str, float]]:
    """Send a folder of small files, each program in each round."""
    original = make_files(product.folder_for("small"), count, SMALL_BYTES)
    sshd, medians = product.sshd, Medians()
    transfers = await best_of_rclone(product, original)

    def to(name: str) -> str:
        path = sshd.home / name
        path.mkdir()
        return str(path)

    spent = dict.fromkeys(product.cpu_s(), 0.0)
    counts = dict.fromkeys(product.etcd_counts(), 0.0)
    for number in range(rounds):
        programs: dict[str, Callable[[str], Awaitable[float]]] = {
            "sftp": lambda at: sftp(sshd, f"put -r {original} {at}/\n"),
            "rclone": lambda at: rclone(sshd, str(original), f":sftp:{at}", transfers),
            "lftp": lambda at: lftp(sshd, f"mirror -R --parallel={LFTP_PARALLEL} {original} {at}"),
        }
        for name, run in programs.items():
            at = to(f"{name}-{number}")
            await medians.take(name, run(at))
            check_arrived(Path(at), count)
            shutil.rmtree(at)
            await product.calm()
        prepared = product.folder_for(f"small-{number}")
        link_files(original, prepared)
        cpu, written = product.cpu_s(), product.etcd_counts()
        await medians.take("ours", product.send(prepared, count))
        spent = {role: spent[role] + now - cpu[role] for role, now in product.cpu_s().items()}
        counts = {name: counts[name] + now - written[name] for name, now in product.etcd_counts().items()}
        product.clear()
        await product.calm()
    rates = medians.rates(count)
    figures = {f"small files to {name}": Figure(rates["ours"], rate, "files/s") for name, rate in peers(rates)}
    figures |= {f"cpu of {role} a file": Figure(1000 * s / rounds / count, None, "ms") for role, s in spent.items()}
    figures |= {f"etcd {name} of 1,000 files": Figure(1e3 * n / rounds / count, None, "") for name, n in counts.items()}
    figures["rclone's best --transfers"] = Figure(transfers, None, "")
    product.discard(original)
    ours = rates["ours"]
    return figures, {"small_files_to_rclone": ours / rates["rclone"], "small_files_to_sftp": ours / rates["sftp"]}


async def best_of_rclone(product: Product, original: Path) -> int:
    """Find out with how many files at one time rclone is quickest here."""
    took = {}
    for transfers in RCLONE_TRANSFERS:
        at = product.sshd.home / f"try-{transfers}"
        at.mkdir()
        took[transfers] = await rclone(product.sshd, str(original), f":sftp:{at}", transfers)
        shutil.rmtree(at)
    return min(took, key=lambda transfers: took[transfers])


async def large_file(product: Product, size_bytes: int, rounds: int) -> tuple[Figures, dict[str, float]]:
    """Send one large file, and fetch one, each program in each round."""
    original = product.folder_for("large") / "large.bin"
    with original.open("wb") as file:
        block = os.urandom(16 * _MIB)
        for _ in range(size_bytes // len(block)):
            file.write(block)
    sshd, home = product.sshd, product.sshd.home
    up, down = Medians(), Medians()
    there, here = home / "there", product.folder_for("here")
    there.mkdir()
    product.forget_memory()
    for number in range(rounds):
        ups: dict[str, Callable[[], Awaitable[float]]] = {
            "sftp": lambda: sftp(sshd, f"put {original} {there}/large.bin\n"),
            "rclone": lambda: rclone(sshd, str(original), f":sftp:{there}", 1),
            "lftp": lambda: lftp(sshd, f"put -O {there} {original}"),
        }
        downs: dict[str, Callable[[], Awaitable[float]]] = {
            "sftp": lambda: sftp(sshd, f"get {there}/large.bin {here}/large.bin\n"),
            "rclone": lambda: rclone(sshd, f":sftp:{there}/large.bin", str(here), 1),
            "lftp": lambda: lftp(sshd, f"get -O {here} {there}/large.bin"),
        }
        for name, upload in ups.items():
            await up.take(name, upload())
            assert (there / "large.bin").stat().st_size == size_bytes
            await down.take(f"{name} down", downs[name]())
            assert (here / "large.bin").stat().st_size == size_bytes
            (there / "large.bin").unlink()
            (here / "large.bin").unlink()
            await product.calm()
        prepared = product.folder_for(f"large-{number}")
        link_files(original.parent, prepared)
        await up.take("ours", product.send(prepared, 1))
        (product.inbox / "large.bin").rename(there / "large.bin")
        await down.take("ours down", product.fetch(there / "large.bin"))
        (there / "large.bin").unlink()
        product.clear()
        await product.calm()
    amount = size_bytes / _MIB
    rates_up = up.rates(amount)
    rates_down = {name.removesuffix(" down"): rate for name, rate in down.rates(amount).items()}
    figures = {f"large file up to {name}": Figure(rates_up["ours"], rate, "MiB/s") for name, rate in peers(rates_up)}
    figures |= {f"large file down to {name}": Figure(rates_down["ours"], r, "MiB/s") for name, r in peers(rates_down)}
    figures["worker's memory, large files"] = Figure(product.memory_mib("VmHWM"), None, "MiB")
    product.discard(original.parent)
    return figures, {
        "large_file_up": rates_up["ours"] / max(rate for _, rate in peers(rates_up)),
        "large_file_down": rates_down["ours"] / max(rate for _, rate in peers(rates_down)),
    }


async def many_files(product: Product, count: int) -> tuple[Figures, dict[str, float]]:
    """Work off a huge folder of tiny files, which are removed at the partner as they arrive."""
    prepared = make_files(product.folder_for("many"), count, TINY_BYTES)
    product.forget_memory()
    arrived = 0
    seen: list[tuple[float, int]] = []

    def consume() -> None:
        nonlocal arrived
        for name in os.listdir(product.inbox):
            if not name.startswith("."):
                try:
                    (product.inbox / name).unlink()
                except FileNotFoundError:
                    continue  # A listing may have a name twice that was renamed meanwhile; a second copy would count.
                arrived += 1
        seen.append((time.monotonic(), arrived))

    began = time.monotonic()
    await product.work_off(prepared, consume)
    consume()
    took = time.monotonic() - began
    assert arrived == count, f"{arrived} of {count} arrived"
    tenth = count // 10
    figures = {
        "many files": Figure(count, None, "files"),
        "many files, first file after": Figure(when(seen, 1) - began, None, "s"),
        "many files, rate": Figure(count / took, None, "files/s"),
        "many files, first tenth": Figure(tenth / (when(seen, tenth) - when(seen, 1)), None, "files/s"),
        "many files, last tenth": Figure(tenth / (when(seen, count) - when(seen, count - tenth)), None, "files/s"),
        "worker's memory, many files": Figure(product.memory_mib("VmHWM"), None, "MiB"),
    }
    product.discard(prepared)
    most_mib = figures["worker's memory, many files"].ours
    return figures, {"million_files_mib": most_mib} if count >= MANY_FILES else {}


def when(seen: list[tuple[float, int]], count: int) -> float:
    """Return the moment by which so many had arrived."""
    return next(moment for moment, arrived in seen if arrived >= count)


def peers(rates: dict[str, float]) -> Iterator[tuple[str, float]]:
    """Yield the others' rates."""
    return ((name, rate) for name, rate in rates.items() if name != "ours")


def make_files(folder: Path, count: int, size_bytes: int) -> Path:
    """Fill the folder; no two files are alike."""
    content = os.urandom(size_bytes - 8)
    for number in range(count):
        (folder / f"file-{number:07d}.dat").write_bytes(number.to_bytes(8, "big") + content)
    return folder


def link_files(source: Path, folder: Path) -> None:
    """Give the folder the same files once more, without writing them again."""
    for entry in os.scandir(source):
        os.link(entry.path, folder / entry.name)


def check_arrived(folder: Path, count: int) -> None:
    """Make sure that a peer has sent everything; sftp puts a folder of the source's name in between."""
    found = sum(len(files) for _, _, files in os.walk(folder))
    assert found == count, f"{found} of {count} files arrived in {folder}"


@contextmanager
def folders(ram: Path) -> Iterator[tuple[Path, Path]]:
    """Make a folder for all files and one for etcd, and remove them afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="mft-bench-", dir=ram) as folder,
        tempfile.TemporaryDirectory(prefix="bench-etcd-", dir=REPOSITORY / ".cache") as etcd,
    ):
        yield Path(folder), Path(etcd)


async def measure(options: argparse.Namespace) -> tuple[Figures, dict[str, float]]:
    """Measure what was asked for."""
    quick, parts = options.quick, options.only or ["small", "large", "many"]
    figures: Figures = {}
    measured: dict[str, float] = {}
    with folders(options.folder) as (folder, etcd):
        product = Product(folder, etcd, options.parallel_files)
        try:
            await product.begin()
            for part in parts:
                print(f"{part}:", file=sys.stderr, flush=True)
                match part:
                    case "small":
                        result = await small_files(product, 1_000 if quick else 10_000, options.rounds)
                    case "large":
                        result = await large_file(product, (256 if quick else 2048) * _MIB, options.rounds)
                    case _:
                        result = await many_files(product, options.files or (50_000 if quick else MANY_FILES))
                figures |= result[0]
                measured |= result[1]
        finally:
            product.cluster.kill()
    return figures, measured


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1,000 small files, 256 MiB, a folder of 50,000")
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=["small", "large", "many"], help="may be given repeatedly")
    parser.add_argument("--files", type=int, default=0, help="size of the huge folder")
    parser.add_argument("--parallel-files", type=int, default=96, help="our option of that name")
    parser.add_argument("--folder", type=Path, default=RAM_DISK if RAM_DISK.is_dir() else Path(tempfile.gettempdir()))
    options = parser.parse_args()
    # How it was built makes a fifth: distributions' are optimised by profile, those built by hand often not.
    print(f"Python {platform.python_version()} below {sys.base_prefix}", file=sys.stderr, flush=True)
    fetch_peers()
    figures, measured = asyncio.run(measure(options))
    return report("outbound", figures, measured, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
