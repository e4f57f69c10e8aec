"""The state of a run after its records."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from trackbridge_adapters.wandb import jsontext
from trackbridge_adapters.wandb.facts import Facts
from trackbridge_adapters.wandb.records import Record

KEYS = st.lists(st.sampled_from(["", "a", "b", "a.b"]), min_size=1, max_size=3)
VALUES = st.sampled_from(["1", "2", '{"a": 1}', '{"b": {"a": 3}}', "{}", "NaN", "no JSON"])
UPDATE = st.tuples(KEYS, st.one_of(VALUES, st.none()))


@given(st.lists(st.lists(UPDATE, max_size=4), max_size=8))
def test_a_summary_is_what_its_records_say_one_after_the_other(
    calls: list[list[tuple[list[str], str | None]]],
) -> None:
    facts, expected = Facts(), {}
    for updates in calls:
        record = Record()
        for path, text in updates:
            item = (record.summary.remove if text is None else record.summary.update).add()
            if len(path) == 1:
                item.key = path[0]
            else:
                item.nested_key.extend(path)
            if text is not None:
                item.value_json = text
                node = jsontext.quote(text) if text == "no JSON" else jsontext.parse(text)
                jsontext.put(expected, path, node)
        for path, text in updates:  # within a record, removals come last
            if text is None:
                jsontext.drop(expected, path)
        facts.apply("summary", record)
    assert _sorted(facts.summary) == _sorted(expected)


def _sorted(tree: jsontext.Tree) -> str:
    return json.dumps(tree, sort_keys=True)
