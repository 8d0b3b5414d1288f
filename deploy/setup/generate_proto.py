"""Make `mft/pb` from `proto/**/*.proto`: message classes, their type stubs, and gRPC stubs where a file has services.

    python deploy/setup/generate_proto.py            rewrite mft/pb
    python deploy/setup/generate_proto.py --check    change nothing; exit 1 and name every file that differs

`proto/mft/admin/v1/admin.proto` becomes `mft/pb/admin/v1/admin_pb2.py`, `proto/etcd/v3.proto` `mft/pb/etcd/v3_pb2.py`.
The compiler is shown each folder under its Python path (`mft/pb/admin=proto/mft/admin`), so generated imports read
`from mft.pb.admin.v1 import …` with no rewriting; an import between our own files is written the same way:
`import "mft/pb/admin/v1/….proto"`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "proto"
TARGET = Path("mft/pb")


def module_path(source: Path) -> Path:
    """The path, below the repository, at which a source file's Python module appears (with the suffix `.proto`)."""
    below = source.relative_to(SOURCES)
    return TARGET / (below.relative_to("mft") if below.parts[0] == "mft" else below)


def compile_one(source: Path, out: Path, paths: list[str]) -> None:
    """Run the compiler with its plugins on one source file."""
    import grpc_tools  # type: ignore[import-untyped]
    from grpc_tools import protoc

    arguments = [*paths, f"-I{Path(grpc_tools.__file__).parent / '_proto'}", f"--python_out={out}", f"--mypy_out={out}"]
    if re.search(r"^service\s", source.read_text("utf-8"), re.MULTILINE):
        arguments += [f"--grpc_python_out={out}", f"--mypy_grpc_out={out}"]
    if protoc.main(["protoc", *arguments, module_path(source).as_posix()]) != 0:
        sys.exit(f"{source.relative_to(ROOT)}: the protobuf compiler refused it; its message is above")


def generate(out: Path) -> None:
    """Generate everything below the folder `out`, packages with their `__init__.py` included."""
    # The compiler finds its plugins for type stubs on PATH; the interpreter's own folder has them.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    sources = sorted(SOURCES.rglob("*.proto"))
    folders = sorted({(module_path(source).parent.as_posix(), source.parent) for source in sources})
    for source in sources:
        compile_one(source, out, [f"-I{python}={disk}" for python, disk in folders])
        for package in module_path(source).parents:
            if package.is_relative_to(TARGET) and package != TARGET:
                name = ".".join(package.parts)
                (out / package / "__init__.py").write_text(f'"""Generated from `proto/` (`{name}`); do not edit."""\n')


def generated_files(below: Path) -> Iterator[Path]:
    """Paths, relative to `below`, of what this program writes; `mft/pb/__init__.py` is not among them."""
    for path in sorted((below / TARGET).rglob("*.py*")):
        if "__pycache__" not in path.parts and path.parent != below / TARGET:
            yield path.relative_to(below)


def differences(fresh: Path, standing: Path) -> list[str]:
    """What differs between two generated trees, one sentence per file."""
    new, old = set(generated_files(fresh)), set(generated_files(standing))
    found = [f"{path}: missing" for path in sorted(new - old)]
    found += [f"{path}: no source makes it" for path in sorted(old - new)]
    found += [
        f"{path}: differs from its source"
        for path in sorted(new & old)
        if (fresh / path).read_bytes() != (standing / path).read_bytes()
    ]
    return found


def main() -> int:
    """Generate, or compare with what stands; the exit status says whether they were alike."""
    parser = argparse.ArgumentParser(description="Make mft/pb from proto/**/*.proto.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if mft/pb is not up to date")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        found = differences(fresh, ROOT)
        if options.check:
            sys.stdout.writelines(f"{line}\n" for line in found)
            if found:
                sys.stdout.write("run: python deploy/setup/generate_proto.py\n")
            return 1 if found else 0
        for path in set(generated_files(ROOT)) - set(generated_files(fresh)):
            (ROOT / path).unlink()
        for path in generated_files(fresh):
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_bytes((fresh / path).read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
