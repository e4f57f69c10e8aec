"""What MLflow writes into a meta.yaml is read as YAML means it, the quick way or the slow one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from trackbridge_adapters.mlflow import folders
from trackbridge_adapters.mlflow.files_small import yaml_of

FIXTURES = Path(__file__).parents[3] / "fixtures"

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=9),
    st.text("0123456789abcdefxo_.:+-", max_size=9),
    st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    st.sampled_from(
        ["yes", "No", "null", "~", "1_000", "0o7", "0x1f", "1e5", "12:30", "2026-01-01"]
    ),
    st.just([]),
)
mappings = st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), scalars, max_size=5)


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


@given(mappings)
@example({"status": 3, "name": "a b", "end_time": None, "tags": [], "user_id": "", "x": "yes"})
def test_the_quick_way_gives_what_yaml_gives(values: dict[str, Any]) -> None:
    for content in (
        yaml.dump(values, default_flow_style=False, allow_unicode=True),
        "".join(f"{name}: {value}\n" for name, value in values.items()),
    ):
        found = folders.plain_yaml(content)
        if found is not None:
            assert same(found, yaml.safe_load(content))


def is_plain(path: Path) -> bool:
    """Whether no name in a file is folded or quoted."""
    content = path.read_text("utf-8")
    return content.isascii() and not any(sign in content for sign in ("\n  ", '"', "*"))


@pytest.mark.parametrize(
    "path",
    sorted(filter(is_plain, FIXTURES.glob("mlflow-*/mlruns/*/*/meta.yaml"))),
    ids=lambda path: path.parent.name[:8],
)
def test_meta_files_of_runs_are_read_the_quick_way(path: Path) -> None:
    content = path.read_text("utf-8")
    assert same(folders.plain_yaml(content), yaml.safe_load(content))


@given(st.dictionaries(st.text(max_size=9), st.none() | st.text(max_size=30), max_size=4))
def test_what_we_write_is_read_as_it_was(values: dict[str, str | None]) -> None:
    for loader in (yaml.SafeLoader, folders.Loader):
        assert yaml.load(yaml_of(values).decode(), loader) == values


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_a_meta_file_that_was_cut_off_gives_what_is_before_the_cut(
    cut: int, tmp_path: Path
) -> None:
    path = next(FIXTURES.glob("mlflow-3.17/mlruns/*/*/meta.yaml"))
    (tmp_path / "meta.yaml").write_bytes(path.read_bytes()[:cut])
    damage: list[str] = []
    found = folders.read_yaml(tmp_path / "meta.yaml", "meta.yaml", damage)
    whole = yaml.safe_load(path.read_text("utf-8"))
    names = list(found)
    assert all(found[name] == whole[name] for name in names[:-1])
    assert found or damage
