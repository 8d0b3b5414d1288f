"""House rules for Python files that no linter has. Each test lists all that breaks its rule, as `path:line: what`."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.tidy.sources import REPOSITORY, Source, functions, public_definitions, sources

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
EMPTY_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "managers", "misc"}
LOOP_NAMES = {"asyncio", "loop", "get_running_loop", "get_event_loop"}
READ_ONLY_TYPES = ("Mapping", "Sequence", "Collection", "AbstractSet", "frozenset")
MUTABLE_CALLS = {"list", "dict", "set", "defaultdict", "deque", "OrderedDict", "Counter", "bytearray"}


def _report(found: list[str]) -> None:
    assert not found, "\n" + "\n".join(found)


def test_files_are_short() -> None:
    """Goal: one idea per file. Method: count lines."""
    lengths = ((source.path, len(source.text.splitlines())) for source in sources())
    _report([f"{path}: {lines} lines, at most {FILE_LINES_MAX}" for path, lines in lengths if lines > FILE_LINES_MAX])


def test_functions_are_short() -> None:
    """Goal: a function is seen at one glance. Method: count lines from `def` to the end."""
    found = []
    for source in sources():
        for node in functions(source.tree):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                found.append(source.at(node, f"{node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}"))
    _report(found)


def test_modules_and_public_names_say_what_they_are_for() -> None:
    """Goal: a docstring on every module, public class, function and method. Method: the syntax tree."""
    found = []
    for source in sources():
        if not ast.get_docstring(source.tree) and not (source.path.endswith("__init__.py") and not source.text):
            found.append(f"{source.path}:1: the module has no docstring")
        # In a file of tests each test states goal and method; what it uses beside may speak for itself.
        is_tests = source.path.startswith("tests/") and not source.path.startswith("tests/rig/")
        for node in public_definitions(source.tree.body):
            if is_tests and not node.name.startswith("test_"):
                continue
            if not ast.get_docstring(node) and not _is_overload(node):
                found.append(source.at(node, f"{node.name} has no docstring"))
    _report(found)


def _is_overload(node: ast.AST) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any("overload" in ast.unparse(each) or ast.unparse(each).endswith(".setter") for each in decorators)


def test_no_global_statement() -> None:
    """Goal: state lives in objects. Method: the syntax tree."""
    _report([s.at(node, "global") for s in sources() for node in ast.walk(s.tree) if isinstance(node, ast.Global)])


def test_tasks_are_named_children_of_a_group() -> None:
    """Goal: every task has an owner that waits for it, and a name. Method: calls of create_task and ensure_future."""
    found = []
    for source in sources():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and (fault := _task_fault(node, source)):
                found.append(source.at(node, fault))
    _report(found)


def _task_fault(call: ast.Call, source: Source) -> str | None:
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in {"create_task", "ensure_future"}:
        return None
    owner = call.func.value
    owner = owner.func if isinstance(owner, ast.Call) else owner
    name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
    if call.func.attr == "ensure_future" or name.lstrip("_") in LOOP_NAMES:
        return f"{ast.unparse(call.func)}: a task is made by a TaskGroup"
    named = any(keyword.arg in {"name", None} for keyword in call.keywords)
    return None if named or not source.path.startswith("mft/") else "a task without a name"


def test_modules_have_names_that_say_something() -> None:
    """Goal: files carry the domain's nouns. Method: the words of every module's and folder's name."""
    names = (
        (source.path, {word for part in Path(source.path).with_suffix("").parts for word in part.split("_")})
        for source in sources()
    )
    _report([f"{path}: says nothing: {', '.join(words & EMPTY_NAMES)}" for path, words in names if words & EMPTY_NAMES])


def test_modules_hold_no_mutable_values() -> None:
    """Goal: no state that two users of a module would share. Method: assignments at module level in `mft`.

    A table is fine when its annotation is read-only (`Mapping`, `Sequence`), so that the type checker guards it.
    """
    found = []
    for source in sources("mft"):
        for node in source.tree.body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            note = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
            if value is None or target is None or ast.unparse(target).startswith("__"):
                continue
            if _is_mutable(value) and not any(kind in note for kind in READ_ONLY_TYPES):
                found.append(source.at(node, f"{ast.unparse(target)} is mutable: annotate it as Mapping or Sequence"))
    _report(found)


def _is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id in MUTABLE_CALLS
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def test_launchers_only_launch() -> None:
    """Goal: `cmd/` hides nothing and holds nothing. Method: no package, a few lines, one import, one call."""
    found = []
    for source in sources("cmd"):
        if source.path.endswith("__init__.py"):
            found.append(f"{source.path}: a package `cmd` hides the standard library's")
        lines = len(source.text.splitlines())
        if lines > 8:
            found.append(f"{source.path}: {lines} lines")
    _report(found)


def test_what_a_package_of_tests_shares_ends_with_it() -> None:
    """Goal: a shared cluster ends when its last test has run. Method: `__init__.py` beside every package fixture.

    Without one, pytest keeps such a fixture until the session ends, beside others of its kind.
    """
    _report(
        [
            f"{source.path}:1: a fixture of scope `package`, and no `__init__.py` beside it"
            for source in sources("tests")
            if 'scope="package"' in source.text
            and source.path.endswith("conftest.py")
            and not (REPOSITORY / source.path).with_name("__init__.py").exists()
        ]
    )
