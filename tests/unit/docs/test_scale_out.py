"""What the page on more than one machine reckons is what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trackbridge import plan
from trackbridge.cli import main

PAGE = (Path(__file__).parents[3] / "docs" / "scale-out.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reckoned() -> dict[str, Any]:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def test_the_table_has_the_hours_that_the_code_gives(reckoned: dict[str, Any]) -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| [^|]+ \|$", PAGE, re.M)
    assert {name: float(hours) for name, hours in rows} == {
        name: round(hours, 1) for name, hours in reckoned["hours"].items()
    }


def test_the_text_has_the_numbers_that_the_code_gives(reckoned: dict[str, Any]) -> None:
    assert f"{reckoned['chunks']:,} chunks" in PAGE
    assert f"an archive of {reckoned['archive_bytes'] / 1024**3:.0f} GiB" in PAGE
    assert f"{reckoned['puts_and_lists'] / 1e6:.1f} million puts and listings" in PAGE
    assert f"{reckoned['gets'] / 1e6:.1f} million gets" in PAGE
    assert f"{reckoned['dollars']:.0f} dollars, and {reckoned['dollars_a_month']:.0f} a" in PAGE


def test_chunks_are_as_large_as_the_page_says() -> None:
    assert (plan.CHUNK_RUNS, plan.CHUNK_POINTS, plan.CHUNK_BYTES) == (500, 2_000_000, 2 * 1024**3)
    assert "500 runs, 2 million points or 2 GiB" in PAGE


def test_commands_are_understood() -> None:
    for line in re.findall(r"^trackbridge (.*)$", PAGE, re.M):
        given = line.partition("#")[0].split()
        command = main.commands[given[0]]
        with command.make_context(given[0], given[1:]):
            pass
    assert CliRunner().invoke(main, ["export", "--help"]).exit_code == 0
