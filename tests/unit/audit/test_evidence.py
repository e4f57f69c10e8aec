"""Clauses and the files that speak to them."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from trackbridge.audit import evidence
from trackbridge.audit.evidence import evidence_map, profiles
from trackbridge.cli import main

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("profile", profiles())
def test_every_clause_names_files_that_are_there_or_none(archive: Path, profile: str) -> None:
    found = evidence_map(f"archive:{archive}", profile)
    assert len({clause.id for clause in found.clauses}) == len(found.clauses) >= 15
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found.dated)
    assert found.address.startswith("https://")
    named = [each.path for clause in found.clauses for each in clause.found]
    assert named and all((archive / path).exists() for path in named)
    assert any(not clause.found for clause in found.clauses)


def test_every_kind_of_evidence_is_looked_for(archive: Path) -> None:
    folder = resources.files("trackbridge.audit").joinpath("profiles")
    for profile in profiles():
        told = yaml.safe_load(folder.joinpath(f"{profile}.yaml").read_text("utf-8"))
        kinds = {kind for clause in told["clauses"] for kind in clause["evidence"]}
        assert all(hasattr(evidence._Evidence, f"_{kind}") for kind in kinds)


def test_counts_are_those_of_the_tables(archive: Path) -> None:
    found = {c.id: c.found for c in evidence_map(f"archive:{archive}", "fda-part-11").clauses}
    trail = {each.what: each.path for each in found["11.10(e)"]}
    assert trail["the last of 3 seals, each naming the one before"] == "seals/0003/seal.json"
    assert found["11.10(b)"][0].what == "5 runs"
    assert found["11.10(d)"] == []


def test_the_command_says_what_is_not_covered(archive: Path) -> None:
    shown = CliRunner().invoke(main, ["audit", "map", str(archive), "--profile", "nist-ai-rmf"])
    assert shown.exit_code == 0 and "GOVERN 1.4: " in shown.stdout
    assert "  not covered\n" in shown.stdout
    said = CliRunner().invoke(
        main, ["audit", "map", str(archive), "--profile", "iso-42001", "--json"]
    )
    assert json.loads(said.stdout)["name"] == "ISO/IEC 42001"
    wrong = CliRunner().invoke(main, ["audit", "map", str(archive), "--profile", "gdpr"])
    assert wrong.exit_code == 2 and "there are eu-ai-act, fda-part-11, " in wrong.output


def test_nothing_is_called_what_only_people_can_judge() -> None:
    word = re.compile("complian", re.IGNORECASE)
    pages = [*(ROOT / "bridge" / "trackbridge" / "audit").rglob("*.*"), ROOT / "docs" / "audits.md"]
    texts = [path for path in pages if path.suffix in (".py", ".yaml", ".md")]
    assert len(texts) > 10
    assert not [path for path in texts if word.search(path.read_text(encoding="utf-8"))]
