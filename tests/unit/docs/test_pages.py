"""The manual says what the code does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from trackbridge.cli import main

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_on_the_run_model_is_the_one_that_the_schema_gives() -> None:
    made = runpy.run_path(str(DOCS / "generate.py"))["run_model"]()
    assert (DOCS / "run-model.md").read_text(encoding="utf-8") == made


def test_every_command_has_help_and_a_place_in_the_manual() -> None:
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    for name, command in main.commands.items():
        assert command.help, name
        assert re.search(rf"^##.*\b{name}\b", page, re.MULTILINE), name


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
