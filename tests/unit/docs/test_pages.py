"""The manual's pages that a program can check without running anything."""

from __future__ import annotations

import re
from pathlib import Path

from tests.unit.deploy.commands import REPOSITORY, command_lines, parse, program_options
from tests.unit.docs import command_reference, config_reference

DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "mft" / "ARCHITECTURE.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"\bMFT-[A-Z]+-\d{4}\b")
FENCED = re.compile(r"^```(?:console|sh)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_config_reference_is_what_the_specs_say() -> None:
    """Goal: no field without a line in the manual. Method: make the page anew and compare."""
    written = (DOCS / "config-reference.md").read_text("utf-8")
    assert written == config_reference.page(), (
        "run `python -m tests.unit.docs.config_reference > docs/config-reference.md`"
    )


def test_command_reference_is_what_the_programs_say() -> None:
    """Goal: no option without a line in the manual. Method: make the page anew and compare."""
    written = (DOCS / "commands.md").read_text("utf-8")
    assert written == command_reference.page(), "run `python -m tests.unit.docs.command_reference > docs/commands.md`"


def test_links_lead_somewhere() -> None:
    """Goal: no dead link within the repository. Method: each relative link and anchor of each page."""
    dead = []
    for source in PAGES:
        for target, anchor in LINK.findall(source.read_text("utf-8")):
            if "://" in target:
                continue
            path = (source.parent / target) if target else source
            if not path.exists():
                dead.append(f"{source.name}: {target}")
            elif anchor and anchor not in _anchors(path):
                dead.append(f"{source.name}: {target}#{anchor}")
    assert not dead, dead


def _anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_page_is_found_from_the_first() -> None:
    """Goal: no page that nobody finds. Method: follow the links from README."""
    reached, waiting = set[Path](), [REPOSITORY / "README.md"]
    while waiting:
        source = waiting.pop()
        if source not in reached and source.suffix == ".md":
            reached.add(source)
            waiting += [
                (source.parent / target).resolve()
                for target, _ in LINK.findall(source.read_text("utf-8"))
                if target and "://" not in target and (source.parent / target).exists()
            ]
    assert set(PAGES) <= reached, [path.name for path in set(PAGES) - reached]


def test_every_code_is_explained() -> None:
    """Goal: whoever meets a code finds it. Method: the codes in the source against those of the manual's page."""
    used = {code for path in (REPOSITORY / "mft").rglob("*.py") for code in CODE.findall(path.read_text("utf-8"))}
    explained = set(re.findall(r"^\| (MFT-[A-Z]+-\d{4}) \|", (DOCS / "errors.md").read_text("utf-8"), re.MULTILINE))
    assert used == explained, used ^ explained


def test_commands_are_what_the_programs_take() -> None:
    """Goal: no option in any page that does not exist. Method: the programs' parsers, on every console block."""
    programs = program_options()
    for source in PAGES:
        for block in FENCED.findall(source.read_text("utf-8")):
            for command in command_lines(_typed(block)):
                if command[0] in programs and not {"…", "--help"} & set(command):
                    parse(command)


def _typed(block: str) -> str:
    joined = re.sub(r"\\\n> ?", " ", block)
    return "\n".join(line[2:] for line in joined.splitlines() if line.startswith("$ "))
