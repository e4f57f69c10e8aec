"""The manual says what the code does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import click

from trackbridge.cli import main

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_on_the_run_model_is_the_one_that_the_schema_gives() -> None:
    made = runpy.run_path(str(DOCS / "generate.py"))["run_model"]()
    assert (DOCS / "run-model.md").read_text(encoding="utf-8") == made


def test_every_command_has_help_and_a_place_in_the_manual() -> None:
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    for name, command in main.commands.items():
        parts = command.commands if isinstance(command, click.Group) else {}
        for path, each in [(name, command), *((f"{name} {n}", part) for n, part in parts.items())]:
            assert each.help, path
            assert re.search(rf"^##.*\b{path}\b", page, re.MULTILINE), path


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_layout_in_the_design_names_every_module_of_the_core_and_no_other() -> None:
    page = (DOCS / "design.md").read_text(encoding="utf-8")
    core = page.partition("\nbridge/trackbridge/")[2].partition("\nadapters/")[0]
    outer, _, rest = core.partition("\n  dual/")
    dual, _, rest = rest.partition("\n  audit/")
    audit, _, rest = rest.partition("\n    viewing/")
    viewing, _, redaction = rest.partition("\n    redaction/")
    source = DOCS.parent / "bridge" / "trackbridge"
    inner = {"dual": dual, "audit": audit, "audit/viewing": viewing, "audit/redaction": redaction}
    for text, folder in ((outer, source), *((text, source / at) for at, text in inner.items())):
        there = {path.name for path in folder.glob("*.py")} - {"__init__.py", "__main__.py"}
        assert set(re.findall(r"\b[a-z]\w*\.py", text)) == there
