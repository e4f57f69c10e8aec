"""What MLflow keeps of traces in columns comes back as the metadata that its client shows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.store.tracking.utils import trace_analytics

from trackbridge_adapters.mlflow import trace_fields

numbers = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.sampled_from(["7", "many"])
)
keys = st.sampled_from([*trace_fields.TOKEN_COLUMNS, *trace_fields.COST_COLUMNS, "other"])
usages = st.dictionaries(keys, numbers).map(json.dumps) | st.sampled_from(["", "{", "[1]", "7"])
metadata = st.dictionaries(
    st.sampled_from([trace_fields.SESSION, trace_fields.TOKENS, trace_fields.COSTS, "mine"]), usages
)
tags = st.dictionaries(st.sampled_from([trace_fields.NAME_TAG, "mine"]), st.text(max_size=9))


@given(tags, metadata)
def test_tags_and_metadata_come_back_from_columns_and_rows(
    tags: dict[str, str | None], metadata: dict[str, str | None]
) -> None:
    kept_tags, kept = dict(tags), dict(metadata)
    columns = trace_fields.native_columns(kept_tags, kept)
    assert trace_fields.shown_metadata(kept, columns, {}) == metadata
    if columns["trace_name"] is not None:
        kept_tags.setdefault(trace_fields.NAME_TAG, str(columns["trace_name"]))
    assert kept_tags == tags


@given(st.dictionaries(keys, st.integers(0, 2**40) | st.floats(0, 1e9)).map(json.dumps))
def test_columns_have_what_mlflow_would_put_there(usage: str) -> None:
    metadata = {trace_fields.TOKENS: usage, trace_fields.COSTS: usage}
    expected = trace_analytics.analytics_columns_from_metadata(metadata)
    found = trace_fields.native_columns({}, dict(metadata))
    assert {n: v for n, v in found.items() if v is not None} == {
        n: v for n, v in expected.items() if v is not None
    }


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.none()))
def test_assessments_are_aggregated_as_mlflow_does(value: object) -> None:
    found = trace_fields.aggregate(json.dumps(value))
    assert found == trace_analytics.assessment_aggregate(value)


@pytest.mark.parametrize("value", ["yes", " No ", "YES", 0, -0.0, 10**400, "maybe"])
def test_words_and_numbers_of_assessments_are_aggregated_as_mlflow_does(value: object) -> None:
    found = trace_fields.aggregate(json.dumps(value))
    assert found == trace_analytics.assessment_aggregate(value)


def test_token_counts_of_a_revision_with_metrics_win_as_in_mlflows_own_upgrade() -> None:
    told = {trace_fields.TOKENS: json.dumps({"input_tokens": 1, "total_tokens": 3})}
    shown = trace_fields.shown_metadata(told, {}, {"total_tokens": 4.0, "mine": 1.5})
    assert json.loads(shown[trace_fields.TOKENS] or "") == {"input_tokens": 1, "total_tokens": 4}
    same = trace_fields.shown_metadata(told, {}, {"total_tokens": 3.0})
    assert same == told
