"""Log folders of real libraries come home, and TensorBoard shows them by the same plugins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.io_wrapper import GetLogdirSubdirectories
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

import trackbridge
from trackbridge.testing.strategies import json_objects
from trackbridge_adapters.tensorboard.restored import Said

FIXTURES = Path(__file__).parents[3] / "fixtures"
STORES = sorted(path.name for path in FIXTURES.glob("tensorboard-*"))
GRAPHS = ("graphs", "graph_tagged_run_metadata")
"""Plugins of what is a file of the run."""


def shown(root: Path) -> dict[str, dict[str, tuple[str, bytes, int]]]:
    """By run and tag: its plugin with what it was told, and how many points it has."""
    found = {}
    for folder in GetLogdirSubdirectories(str(root)):
        run = EventAccumulator(folder, {"tensors": 0}, event_file_active_filter=bool).Reload()
        found[os.path.relpath(folder, root)] = {
            tag: (
                about.plugin_data.plugin_name,
                about.plugin_data.content if about.plugin_data.plugin_name in OWN else b"",
                len(run.Tensors(tag)),
            )
            for tag, about in run.summary_metadata.items()
        }
    return found


OWN = ("pr_curves", "mesh", "custom_scalars")
"""Plugins that need what they were told of a tag."""


@pytest.mark.parametrize("store", STORES)
def test_event_files_come_home_and_are_shown_by_the_same_plugins(
    store: str, tmp_path: Path
) -> None:
    source, archive = FIXTURES / store / "runs", f"archive:{tmp_path}/archive"
    out = tmp_path / "out"
    assert trackbridge.migrate(f"tensorboard:{source}", archive).verified
    assert trackbridge.migrate(archive, f"tensorboard:{out}").verified
    found = trackbridge.verify(f"tensorboard:{source}", f"tensorboard:{out}")
    assert found.differences == []
    assert found.equal == found.total > 0
    before, after = shown(source), shown(out)
    for run, tags in before.items():
        there = after["runs" if run == "." else f"runs/{run}"]
        expected = {tag: told for tag, told in tags.items() if told[0] not in GRAPHS}
        assert {tag: there.get(tag) for tag in expected} == expected


anything = st.recursive(
    st.none() | st.integers(-9, 9) | st.floats() | st.sampled_from(["int32", "string", "x", "O"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(
    extra=st.none() | st.text() | json_objects,
    value=anything
    | st.fixed_dictionaries(
        dict.fromkeys(("plugin", "dtype", "shape", "values"), anything)
        | {"_type": st.just("tensor")}
    ),
)
def test_any_extra_and_any_value_are_restored_or_passed_by(extra: str | None, value: Any) -> None:
    said = Said({"extra": extra})
    said.tensor("tag", value)
    said.experiment()
    said.metadata("tag")


@pytest.mark.parametrize(
    "experiment", ["[]", "[1]", "{}", '[{"hparam_infos": 1}]', '[{"time_created_secs": "x"}]']
)
def test_an_experiment_that_is_none_is_passed_by(experiment: str) -> None:
    assert Said({"extra": f'{{"hparams": {{"experiment": {experiment}}}}}'}).experiment() is None
