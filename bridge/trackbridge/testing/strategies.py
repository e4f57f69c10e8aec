"""Hypothesis strategies for runs of the run model: everything that a tracker may have held."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from trackbridge.adapter import Row, RunKey
from trackbridge.testing.made import FilePlace, MadeRun
from trackbridge.times import EPOCH

EDGY = (
    "",
    " ",
    "a/b",
    "a_b",
    "a.b",
    "..",
    "null",
    "NaN",
    'it\'s "quoted" `so` \\n',
    "two\nlines\r\nor three\ttabbed",
    "nul \x00 inside",
    "naïve Ünï 漢字 🚀",
    "e\u0301 is not \u00e9",
    "\u202eright to left",
    "%s {} ${x} ; DROP TABLE runs; --",
    "<script>alert(1)</script>",
    "k" * 300,
    "x" * 10_000,
)
"""Texts that stores have stumbled over."""

texts = st.one_of(st.text(max_size=12), st.sampled_from(EDGY))
"""Any text at all."""
maybe_text = st.none() | texts
times = st.integers(1, 4 * 10**15).map(lambda us: EPOCH + timedelta(microseconds=us))
"""Moments from 1970 to 2096, to the microsecond."""
maybe_time = st.none() | times
numbers = st.one_of(
    st.floats(),
    st.sampled_from([0.1, -0.0, 1e308, 5e-324, float("nan"), float("inf"), float("-inf")]),
)
steps = st.one_of(st.integers(0, 20), st.integers(-(2**63), 2**63 - 1))
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=3,
)
json_objects = st.dictionaries(st.text(max_size=5), _json, max_size=2).map(json.dumps)


def keys(kind: str | None = None, instance: str | None = None) -> st.SearchStrategy[RunKey]:
    """Identities of runs; of one kind and store where these are given."""
    names = texts.filter(bool)
    return st.builds(
        RunKey,
        st.sampled_from(["mlflow", "wandb", "some-kind"]) if kind is None else st.just(kind),
        texts if instance is None else st.just(instance),
        names,
        names,
    )


def _rows(most: int = 3, unique: str | None = None, **columns: Any) -> st.SearchStrategy[list[Row]]:
    by = None if unique is None else (lambda row: row[unique])
    return st.lists(st.fixed_dictionaries(columns), max_size=most, unique_by=by)


def _leaf(parts: list[str], leaf: tuple[str, str]) -> Row:
    path = None if len(parts) == 1 else json.dumps(parts)
    return {"key": ".".join(parts), "path": path, "value": leaf[1], "type": leaf[0]}


_leaves = st.one_of(
    st.tuples(st.just("string"), texts),
    st.tuples(st.just("integer"), st.integers(-(2**70), 2**70).map(str)),
    st.tuples(st.just("float"), numbers.map(json.dumps)),
    st.sampled_from([("boolean", "true"), ("boolean", "false"), ("null", "null")]),
    st.sampled_from([("list", "[]"), ("list", '[1, "a"]'), ("object", "{}")]),
)


def _configuration() -> st.SearchStrategy[list[Row]]:
    """Leaves of a nested configuration, each key once."""
    parts = st.lists(texts, min_size=1, max_size=3)
    row = st.builds(_leaf, parts, _leaves)
    return st.lists(row, max_size=4, unique_by=lambda leaf: leaf["key"])


def _calls() -> st.SearchStrategy[list[Row]]:
    """Points as log calls made them: rows with ascending steps, several keys in each."""
    call = st.tuples(
        st.integers(0, 3), times, st.dictionaries(texts, numbers, min_size=1, max_size=3)
    )

    def laid(calls: list[tuple[int, datetime, dict[str, float]]]) -> list[Row]:
        points, step = [], 0
        for number, (gap, time, values) in enumerate(calls):
            step += gap + 1
            points += [
                {"key": key, "step": step, "time": time, "row": number, "value": value}
                for key, value in values.items()
            ]
        return points

    return st.lists(call, max_size=5).map(laid)


def points() -> st.SearchStrategy[list[Row]]:
    """Points in log calls, or each by itself, some of them twice; and samples of the system."""
    alone: dict[str, Any] = {
        "key": texts,
        "step": st.none() | steps,
        "time": maybe_time,
        "value": numbers,
    }
    repeated = _rows(6, None, **alone).flatmap(
        lambda rows: st.integers(0, len(rows)).map(lambda n: rows + rows[:n])
    )
    samples = _rows(3, key=texts, step=steps, time=times, value=numbers, system=st.just(True))
    return st.builds(
        lambda own, system: [{"system": False, **row} for row in own + system],
        st.one_of(_calls(), repeated),
        samples,
    )


_series_values = st.one_of(
    st.tuples(st.just("text"), texts.map(json.dumps)),
    st.tuples(st.just("boolean"), st.sampled_from(["true", "false"])),
    st.tuples(st.just("integer"), st.integers(2**53 + 1, 2**70).map(str)),
    st.tuples(st.just("null"), st.just("null")),
    st.tuples(
        st.just("histogram"),
        st.just('{"_type": "histogram", "bins": [0.0, 0.5, 1.0], "values": [3, 4]}'),
    ),
    st.tuples(st.just("json"), json_objects),
)


def _series() -> st.SearchStrategy[list[Row]]:
    def row(key: str, step: int, time: datetime, value: tuple[str, str]) -> Row:
        return {"key": key, "step": step, "time": time, "kind": value[0], "value": value[1]}

    return st.lists(
        st.builds(row, texts, st.integers(0, 20), times, _series_values),
        max_size=3,
        unique_by=lambda made: (made["key"], made["step"]),
    )


def _segments() -> st.SearchStrategy[str]:
    """Names that file systems take."""
    return texts.map(lambda text: "".join(c for c in text if c not in "/\0")[:40]).filter(
        lambda name: name not in ("", ".", "..", "trackbridge")
    )


def files(owners: list[str]) -> st.SearchStrategy[dict[FilePlace, bytes]]:
    """Contents by owner and path; no path is a folder of another."""
    paths = st.lists(_segments(), min_size=1, max_size=3).map("/".join)
    places = st.tuples(st.sampled_from(owners), paths)

    def consistent(found: dict[FilePlace, bytes]) -> dict[FilePlace, bytes]:
        kept: dict[FilePlace, bytes] = {}
        for (owner, path), content in sorted(found.items()):
            above = (path.rsplit("/", n)[0] for n in range(1, path.count("/") + 1))
            if not any((owner, folder) in kept for folder in above):
                kept[owner, path] = content
        return kept

    return st.dictionaries(places, st.binary(max_size=20), max_size=4).map(consistent)


ARTIFACTS = (("model", "v0"), ("data set", "v12"))


def _tables() -> dict[str, st.SearchStrategy[list[Row]]]:
    """Rows of the small tables that do not depend on each other."""
    return {
        "params": _configuration(),
        "summary": _configuration(),
        "tags": _rows(4, unique="key", key=texts, value=maybe_text),
        "metrics": points(),
        "series": _series(),
        "metric_defs": _rows(
            2,
            unique="key",
            key=texts,
            glob=st.booleans(),
            x_axis=maybe_text,
            summary=st.sampled_from([None, "min", "min,max,mean"]),
            goal=st.sampled_from([None, "minimize", "maximize"]),
            hidden=st.booleans(),
            extra=st.none() | json_objects,
        ),
        "logs": st.lists(
            st.tuples(st.sampled_from(["stdout", "stderr"]), maybe_time, texts), max_size=4
        ).map(
            lambda lines: [
                {"stream": stream, "line": line, "time": time, "text": text}
                for line, (stream, time, text) in enumerate(lines)
            ]
        ),
        "alerts": _rows(
            2,
            title=texts,
            level=st.sampled_from(["INFO", "WARN", "ERROR"]),
            time=maybe_time,
            definition=json_objects,
        ),
        "inputs": _rows(
            2,
            unique="name",
            name=texts,
            digest=maybe_text,
            kind=maybe_text,
            source=maybe_text,
            schema=st.none() | json_objects,
            profile=st.none() | json_objects,
            context=maybe_text,
            extra=st.none() | json_objects,
        ),
    }


def _run_row() -> st.SearchStrategy[Row]:
    names = ("name", "user", "parent_run_id", "group", "job_type", "sweep_id", "notes", "host")
    others = ("program", "git_remote", "git_commit", "python", "source")
    states = ("scheduled", "running", "finished", "failed", "killed", "crashed")
    return st.fixed_dictionaries(
        {
            **dict.fromkeys((*names, *others), maybe_text),
            "status": st.none() | st.sampled_from(states),
            "started": maybe_time,
            "ended": maybe_time,
            "deleted": st.booleans(),
            "extra": st.none() | json_objects,
        }
    )


@st.composite
def _artifacts(draw: st.DrawFn) -> list[Row]:
    chosen = draw(st.lists(st.sampled_from(ARTIFACTS), unique=True, max_size=2))
    return [
        {
            "collection": collection,
            "version": version,
            "kind": draw(st.sampled_from(["model", "dataset"])),
            "aliases": draw(st.sampled_from([None, "[]", '["latest", "best"]'])),
            "digest": draw(maybe_text),
            "direction": draw(st.sampled_from(["logged", "used"])),
            "description": draw(maybe_text),
            "metadata": draw(st.none() | json_objects),
            "created": draw(maybe_time),
            "extra": draw(st.none() | json_objects),
        }
        for collection, version in chosen
    ]


@st.composite
def made_runs(draw: st.DrawFn, key: RunKey | None = None) -> MadeRun:
    """A run with something in each of some tables, valid in the run model and no tidier."""
    tables = {"runs": [draw(_run_row())]}
    small = _tables()
    for table in draw(st.lists(st.sampled_from(sorted(small)), unique=True, max_size=6)):
        tables[table] = draw(small[table])
    tables["artifacts"] = draw(_artifacts())
    owners = [f"{row['collection']}:{row['version']}" for row in tables["artifacts"]]
    contents = draw(files(["", *owners]))
    return MadeRun(draw(keys()) if key is None else key, tables, contents)
