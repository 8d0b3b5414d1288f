"""The checkout's files as the house rules see them."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON_FOLDERS = ("mft", "cmd", "deploy", "bench", "tests")
GENERATED = REPOSITORY / "mft" / "pb"
UNTRACKED = (
    *(".git", ".venv", ".cache", "build", "dist", "__pycache__", ".hypothesis"),
    *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache", "mft_cluster.egg-info"),
)

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


class Source(NamedTuple):
    """One Python file: its path in the repository, its text, its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    def at(self, node: ast.stmt | ast.expr, message: str) -> str:
        """Return `path:line: message`, as linters write it."""
        return f"{self.path}:{node.lineno}: {message}"


@functools.cache
def sources(*folders: str) -> tuple[Source, ...]:
    """Return the Python files below these folders of the repository (default: all), without generated ones."""
    paths = [
        path
        for folder in folders or PYTHON_FOLDERS
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
        if "__pycache__" not in path.parts and (path.parent == GENERATED or not path.is_relative_to(GENERATED))
    ]
    texts = [(path, path.read_text("utf-8")) for path in paths]
    return tuple(
        Source(str(path.relative_to(REPOSITORY)), text, ast.parse(text, filename=str(path))) for path, text in texts
    )


def functions(tree: ast.AST) -> Iterator[FunctionNode]:
    """Yield every function and method, nested ones too."""
    yield from (node for node in ast.walk(tree) if isinstance(node, FunctionNode))


def public_definitions(body: list[ast.stmt]) -> Iterator[FunctionNode | ast.ClassDef]:
    """Yield the public functions and classes of a module, and those classes' public methods."""
    for node in body:
        if isinstance(node, FunctionNode | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body)


@functools.cache
def repository_files() -> tuple[Path, ...]:
    """Return all files that git tracks or would track; without git, all that are not known to be made by tools."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=REPOSITORY,
            capture_output=True,
            check=True,
        ).stdout.decode()
    except (FileNotFoundError, subprocess.CalledProcessError):
        found = (path for path in REPOSITORY.rglob("*") if not set(UNTRACKED) & set(path.parts))
        return tuple(path for path in found if path.is_file())
    paths = (REPOSITORY / name for name in listed.split("\0") if name)
    return tuple(path for path in paths if path.is_file())
