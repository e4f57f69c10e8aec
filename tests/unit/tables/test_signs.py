"""Files are read whatever their signs, and what is damaged in them is named with its line."""

from __future__ import annotations

import bz2
import gzip
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.tables.read import assumed, damage, points, rows, series

from trackbridge.adapter import Query, Reader, RunRef
from trackbridge.errors import BridgeError, ConfigError, TransientError
from trackbridge.optional import Excerpt, Selecting
from trackbridge.registry import open_reader
from trackbridge.testing.base import tries
from trackbridge_adapters.tables import blocks, spool

PLAIN = "run,step,loss\nä,0,0.5\nä,1,-1e-3\nb,0,2\n"
VALUES = [("ä", 0, 0.5), ("ä", 1, -0.001), ("b", 0, 2.0)]


def found(address: str) -> list[tuple[str, int, float]]:
    return [(p["run_id"], p["step"], p["value"]) for p in points(address)]


def test_texts_of_an_old_encoding_stay_texts_beside_what_is_no_number(tmp_path: Path) -> None:
    """One cell that is no number has all cells of its block read again, in which é was Ã©."""
    data = "run,step,loss,note\né,0,0.5,é\né,1,oops,ü\né,2,1.5,€\n"
    (tmp_path / "t.csv").write_bytes(data.encode("cp1252"))
    address = f"csv:{tmp_path}/t.csv"
    assert [(p["run_id"], p["value"]) for p in points(address)] == [("é", 0.5), ("é", 1.5)]
    assert [s["value"] for s in series(address)] == ['"oops"', '"é"', '"ü"', '"€"']


def test_numbers_beyond_all_limits_are_kept_as_they_are_written(tmp_path: Path) -> None:
    digits = "9" * 5000
    lines = [f"a,0,{digits},1,{digits}", "a,1,1e400,2,1", "a,2,-inf,3,1", f"a,{digits},2.5,4,1"]
    (tmp_path / "t.csv").write_text("run,step,loss,acc,lr\n" + "\n".join(lines) + "\n")
    address = f"csv:{tmp_path}/t.csv"
    losses = {p["step"]: p["value"] for p in points(address) if p["key"] == "loss"}
    assert losses == {2: -np.inf, None: 2.5}
    kept = {(s["key"], s["step"]): (s["kind"], s["value"]) for s in series(address)}
    assert kept == {
        ("loss", 0): ("integer", digits),
        ("loss", 1): ("text", '"1e400"'),
        ("lr", 0): ("integer", digits),
    }
    assert "is no step" in damage(address)[0]


def test_json_lines_have_steps_where_most_are_whole_numbers(tmp_path: Path) -> None:
    steps = ['"x"', "0", "1", "2.5", str(10**400), "2"]
    lines = [f'{{"run": "a", "step": {step}, "loss": 0.5}}' for step in steps]
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n")
    address = f"jsonl:{tmp_path}/t.jsonl"
    assert [p["step"] for p in points(address)] == [None, 0, 1, None, None, 2]
    where = f"{tmp_path}/t.jsonl line"
    said = "is no step; the row is kept without one"
    assert damage(address) == [
        f"{where} 1: step '\"x\"' {said}",
        f"{where} 4: step '2.5' {said}",
        f"{where} 5: step '{10**400}' {said}",
    ]


def test_numbers_of_json_beyond_all_limits_are_kept_as_they_are_written(tmp_path: Path) -> None:
    digits = "9" * 5000
    losses = [str(10**400), digits, "1e400", "-Infinity", "1"]
    lines = [f'{{"step": {step}, "loss": {loss}}}' for step, loss in enumerate(losses)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n")
    address = f"jsonl:{tmp_path}/t.jsonl"
    assert [(p["step"], p["value"]) for p in points(address)] == [(3, -np.inf), (4, 1.0)]
    assert [(s["step"], s["kind"], s["value"]) for s in series(address)] == [
        (0, "integer", str(10**400)),
        (1, "text", f'"{digits}"'),
        (2, "text", '"1e400"'),
    ]


def test_a_name_that_is_a_mark_of_utf8_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("run,step,loss\n\ufeff,0,0.5\n", encoding="utf-8")
    assert found(f"csv:{tmp_path}/t.csv") == [("\ufeff", 0, 0.5)]


def test_numbers_with_commas_stay_numbers_beside_what_is_none(tmp_path: Path) -> None:
    """One cell that is no number has all cells of its block looked at as texts."""
    lines = ["a;0;1,5;n/a;", "a;1;-2,5e-3;x;", "a;2;n/a;,5;", "a;3;oops;3;", "a;4;4.5;4,25;7,5"]
    (tmp_path / "t.csv").write_text("run;step;loss;acc;late\n" + "\n".join(lines))
    read = points(f"csv:{tmp_path}/t.csv", columns="metric=late")
    values = {(p["key"], p["step"]): p["value"] for p in read}
    assert values == {
        ("loss", 0): 1.5,
        ("loss", 1): -0.0025,
        ("loss", 4): 4.5,
        ("acc", 2): 0.5,
        ("acc", 3): 3.0,
        ("acc", 4): 4.25,
        ("late", 4): 7.5,
    }


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (PLAIN.encode(), {}),
        (PLAIN.encode("utf-8-sig"), {}),
        (PLAIN.encode("utf-16"), {}),
        (PLAIN.encode("latin-1"), {"encoding": "cp1252, since it is no UTF-8"}),
        (PLAIN.replace(",", ";").encode(), {"separator": "semicolons"}),
        (PLAIN.replace(",", "\t").encode(), {"separator": "tabs"}),
        (PLAIN.replace(",", "|").encode(), {"separator": "bars"}),
        (
            PLAIN.replace(",", ";").replace(".", ",").encode(),
            {"separator": "semicolons", "decimal sign": "comma"},
        ),
        (PLAIN.replace("\n", "\r\n").encode(), {}),
        (PLAIN.replace("\n", "\r").encode(), {}),
        (PLAIN.replace("\n", "\n\n").encode(), {}),
        (PLAIN.rstrip("\n").encode(), {}),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else "",
)
def test_a_file_is_read_whatever_its_signs(
    tmp_path: Path, data: bytes, said: dict[str, str]
) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    address = f"csv:{tmp_path}/t.csv"
    assert found(address) == VALUES
    assert assumed(address).items() >= said.items()
    assert not damage(address)


def test_packed_files_and_folders_and_wildcards(tmp_path: Path) -> None:
    data = PLAIN.encode()
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(data))
    (tmp_path / "b.csv.bz2").write_bytes(bz2.compress(data))
    with pa.CompressedOutputStream(str(tmp_path / "deep" / "c.csv.zst"), "zstd") as out:
        out.write(data)
    (tmp_path / "readme.txt").write_text("no table")
    (tmp_path / ".checkpoints").mkdir()
    (tmp_path / ".checkpoints" / "a.csv").write_bytes(data)
    assert found(f"csv:{tmp_path}/a.csv.gz") == VALUES
    assert found(f"csv:{tmp_path}") == VALUES * 3, "runs of one id are one run"
    assert found(f"csv:{tmp_path}/*.csv.*") == VALUES * 2


def test_a_folder_of_files_without_runs_has_a_run_for_each(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("epoch,loss\n0,1\n1,0.5\n")
    refs = {(p["project"], p["run_id"]) for p in points(f"csv:{tmp_path}")}
    assert refs == {(tmp_path.name, "a"), (tmp_path.name, "b")}


def test_a_file_anywhere_that_fsspec_reaches(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe(f"/tables-{tmp_path.name}/t.csv", PLAIN.encode())
    assert found(f"csv:memory://tables-{tmp_path.name}/t.csv") == VALUES
    assert found(f"csv:memory://tables-{tmp_path.name}") == VALUES


def test_what_is_damaged_is_named_with_its_line_and_the_rest_is_read(tmp_path: Path) -> None:
    lines = ["run,step,time,loss", "a,0,2024-05-01,1", "a,1,2024-05-02,2,3", "a,two,2024-05-03,4"]
    lines += ['"a",3,"never",5', "", "a,4,2024-13-45,6", "a,5", "a,6.5,,7"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    address = f"csv:{tmp_path}/t.csv"
    where = f"{tmp_path}/t.csv line"
    assert sorted(damage(address)) == sorted(
        [
            f"{where} 3: 5 cells where the header has 4",
            f"{where} 8: 2 cells where the header has 4",
            f"{where} 4: step 'two' is no step; the row is kept without one",
            f"{where} 9: step '6.5' is no step; the row is kept without one",
            f"{where} 5: time 'never' is no time; the row is kept without one",
            f"{where} 7: time '2024-13-45' is no time; the row is kept without one",
        ]
    )
    steps = [(p["step"], p["time"] is not None, p["value"]) for p in points(address)]
    assert steps == [
        (0, True, 1),
        (None, True, 4),
        (3, False, 5),
        (4, False, 6),
        (None, False, 7),
    ]


def test_bytes_that_are_no_text_are_named_and_replaced(tmp_path: Path) -> None:
    good = "".join(f"a,{step},0.5,fine\n" for step in range(30_000))
    (tmp_path / "t.csv").write_bytes(f"run,step,loss,note\n{good}".encode() + b"a,1,2,\xff\n")
    (said,) = damage(f"csv:{tmp_path}/t.csv")
    assert said.startswith(f"{tmp_path}/t.csv line 30002: no UTF-8")
    assert len(points(f"csv:{tmp_path}/t.csv")) == 30_001


def test_lines_that_are_no_objects_are_named(tmp_path: Path) -> None:
    text = '{"step": 0, "x": 1}\n{"step": 1, \n[1]\n\n{"step": 2, "x": NaN}\n' + "[" * 5000
    (tmp_path / "t.jsonl").write_text(text)
    address = f"jsonl:{tmp_path}/t.jsonl"
    assert [line.partition("t.jsonl ")[2][:16] for line in damage(address)] == [
        "line 2: no JSON ",
        "line 3: no JSON ",
        "line 6: no JSON ",
    ]
    assert [p["step"] for p in points(address)] == [0, 2]


def test_a_packed_file_that_breaks_off_is_read_up_to_there(tmp_path: Path) -> None:
    rows_ = "".join(f"a,{step},{step / 3}\n" for step in range(50_000))
    data = gzip.compress(f"run,step,loss\n{rows_}".encode())
    (tmp_path / "t.csv.gz").write_bytes(data[: len(data) // 2])
    address = f"csv:{tmp_path}/t.csv.gz"
    assert any("cannot be unpacked to its end" in line for line in damage(address))
    assert 1000 < len(points(address)) < 50_000


def test_a_file_in_a_folder_that_is_no_table_is_named_and_the_others_are_read(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text(PLAIN)
    assert found(f"csv:{tmp_path}") == VALUES
    assert damage(f"csv:{tmp_path}") == [f"{tmp_path}/a.csv: an empty file, no table"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "", "an empty file"),
        ("t.csv", "a,b\n", "no rows below its header|no column holds values"),
        ("t.csv", "1,2\n3,4\n", "no names of columns"),
        ("t.csv", "run\na\nb\n", "no column holds values"),
        ("t.csv", "sep=;\nrun;step;loss\na;0;0,1\n", "first line is 'sep=;', .*; take it away"),
        ("t.csv", "# by me\nrun,step,loss\na,0,1\n", "first line is '# by me'"),
        ("t.jsonl", "", "an empty file"),
        ("t.jsonl", "no json\n", "no JSON Lines: line 1"),
    ],
)
def test_what_is_no_table_at_all_is_one_clear_line(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        points(f"{name.partition('.')[2]}:{tmp_path}/{name}")
    assert "\n" not in str(error.value)


def test_a_column_of_a_run_that_changes_keeps_its_first_value_and_is_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "t.csv").write_text("step,lr,loss\n0,0.1,1\n1,0.2,1\n")
    address = f"csv:{tmp_path}/t.csv"
    (row,) = rows(address, "params", columns="param=lr")
    assert row["value"] == "0.1"
    (said,) = damage(address, columns="param=lr")
    assert "lr changes within runs" in said


# Everything comes back


cells = st.one_of(
    st.floats(allow_nan=False),
    st.sampled_from([0.1, -0.0, 5e-324, 1e308, float("inf"), float("-inf")]),
    st.none(),
)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=8)


@tries
@given(
    runs=st.dictionaries(
        names.filter(lambda n: n.strip() != ""), st.lists(cells, min_size=1, max_size=6), min_size=1
    ),
    small=st.booleans(),
)
@pytest.mark.parametrize("scheme", ["csv", "jsonl"])
def test_every_number_that_a_writer_of_others_puts_down_is_read(
    tmp_path: Path, scheme: str, runs: dict[str, list[float | None]], small: bool
) -> None:
    records = [
        {"run": run, "step": step, "loss": value}
        for run, values in runs.items()
        for step, value in enumerate(values)
    ]
    if not any(record["loss"] is not None for record in records):
        return
    path = tmp_path / f"t.{scheme}"
    if scheme == "csv":
        pd.DataFrame(records).to_csv(path, index=False)
    else:
        path.write_text("".join(f"{json.dumps(r)}\n" for r in records), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 16 if small else 1 << 20)
        read = {
            (p["run_id"], p["step"]): p["value"]
            for p in points(f"{scheme}:{path}", columns="run=run,metric=loss")
        }
    expected = {(r["run"], r["step"]): r["loss"] for r in records if r["loss"] is not None}
    assert read == expected
    assert {k: np.signbit(v) for k, v in read.items()} == {
        k: np.signbit(v) for k, v in expected.items()
    }


@tries
@given(data=st.binary(max_size=200), cut=st.integers(0, 200))
@pytest.mark.parametrize("scheme", ["csv", "jsonl"])
def test_no_bytes_whatever_are_a_traceback(
    tmp_path: Path, scheme: str, data: bytes, cut: int
) -> None:
    head = {
        "csv": b'run,key,step,time,value\na,x,0,2024-01-01,1.5\nb,y,1,,"q"\n',
        "jsonl": b'{"run": "a", "step": 0, "x": {"y": 1.5}}\n{"run": "b", "step": 1, "z": "t"}\n',
    }[scheme]
    for content in (data, head[:cut] + data, head + data + head):
        path = tmp_path / f"t.{scheme}"
        path.write_bytes(content)
        try:
            reader = open_reader(f"{scheme}:{path}")
            refs = [info.ref for info in reader.list_runs(Query())]
            batches = list(reader.read_runs(refs))
        except BridgeError as error:
            assert "\n" not in str(error)
            continue
        assert sum(batch.data.num_rows for batch in batches if batch.table == "runs") == len(refs)


@pytest.mark.parametrize("small", [64, 1 << 20])
def test_parts_of_points_are_found_without_reading_what_lies_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    lines = "".join(f"{step},{step},{step * 2}\n" for step in range(200))
    (tmp_path / "t.csv").write_text(f"step,a,b\n{lines}")
    monkeypatch.setattr(blocks, "BLOCK_BYTES", small)
    reader = open_reader(f"csv:{tmp_path}/t.csv")
    (info,) = reader.list_runs(Query())
    assert info.points == 400
    assert not info.estimated
    assert isinstance(reader, Selecting)
    part = Excerpt(frozenset({"b"}), 10, 19)
    values = [
        row["value"]
        for batch in reader.read_points([info.ref], part)
        for row in batch.data.to_pylist()
    ]
    assert values == [step * 2 for step in range(10, 20)]


def test_only_runs_whose_rows_changed_have_another_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 64)
    lines = [f"{run},{step},0.5\n" for run in "abcdef" for step in range(20)]
    path = tmp_path / "t.csv"

    def prints() -> dict[str, str]:
        infos = open_reader(f"csv:{path}").list_runs(Query())
        return {info.ref.run_id: info.fingerprint for info in infos}

    path.write_text("run,step,loss\n" + "".join(lines))
    before = prints()
    path.write_text("run,step,loss\n" + "".join(lines) + "f,20,0.25\n")
    after = prints()
    assert {run for run in before if before[run] != after[run]} == {"f"}


def test_points_are_of_the_listing_and_the_next_listing_is_of_the_file_as_it_is_then(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("run,step,loss\na,0,0.5\n")
    reader = open_reader(f"csv:{path}")
    (before,) = reader.list_runs(Query())
    path.write_text("run,step,loss\na,0,0.25\na,1,0.125\n")
    assert values(reader, before.ref) == [0.5]
    (after,) = reader.list_runs(Query())
    assert after.fingerprint != before.fingerprint
    assert values(reader, after.ref) == [0.25, 0.125]


@pytest.mark.parametrize("scheme", ["csv", "jsonl"])
@pytest.mark.parametrize("lack", ["room", "quota", "folder"])
def test_where_rows_cannot_be_kept_they_are_parsed_again_and_a_change_in_between_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, lack: str
) -> None:
    if lack == "room":
        monkeypatch.setattr(spool.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    elif lack == "quota":
        full = lambda **_: io.FileIO("/dev/full", "r+")  # noqa: E731
        monkeypatch.setattr(spool.tempfile, "TemporaryFile", full)
    else:
        monkeypatch.setattr(spool.tempfile, "gettempdir", lambda: f"{tmp_path}/gone")
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 32)
    path = tmp_path / f"t.{scheme}"

    def write(loss: float) -> None:
        rows = [{"run": "a", "step": step, "loss": loss} for step in range(20)]
        if scheme == "csv":
            pd.DataFrame(rows).to_csv(path, index=False)
        else:
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    write(0.5)
    reader = open_reader(f"{scheme}:{path}")
    (info,) = reader.list_runs(Query())
    assert values(reader, info.ref) == [0.5] * 20
    write(0.25)
    with pytest.raises(TransientError, match="changed while it was read"):
        values(reader, info.ref)
    assert values(reader, info.ref) == [0.25] * 20, "as who tries again has it"


def test_cells_of_several_lines_are_whole_wherever_arrow_parts_the_bytes(tmp_path: Path) -> None:
    texts = [f"{'x' * (step % 997)}\n\n{step},{step}\n" for step in range(4000)]
    pd.DataFrame({"step": range(4000), "note": texts}).to_csv(tmp_path / "t.csv", index=False)
    assert (tmp_path / "t.csv").stat().st_size > 3 << 19, "more than Arrow parses at a time"
    assert [json.loads(row["value"]) for row in series(f"csv:{tmp_path}/t.csv")] == texts
    assert not damage(f"csv:{tmp_path}/t.csv")


def values(reader: Reader, ref: RunRef) -> list[float]:
    found = reader.read_runs([ref], ["metrics"])
    return [row["value"] for batch in found for row in batch.data.to_pylist()]


def test_series_of_texts_that_change_are_no_params(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("step,phase,model\n0,warm,cnn\n1,hot,cnn\n")
    address = f"csv:{tmp_path}/t.csv"
    assert [(s["key"], s["value"]) for s in series(address)] == [
        ("phase", '"warm"'),
        ("phase", '"hot"'),
    ]
    assert [r["key"] for r in rows(address, "params")] == ["model"]


def test_a_quote_that_is_never_closed_takes_its_own_line_alone(tmp_path: Path) -> None:
    lines = ['r,0,1,"two\nlines"', 'r,1,2,5"" wide', 'r,2,3,"oops', "r,3,4,x", "r,y,6,"]
    (tmp_path / "t.csv").write_text("run,step,loss,note\n" + "\n".join(lines))
    address = f"csv:{tmp_path}/t.csv"
    assert found(address) == [("r", 0, 1.0), ("r", 1, 2.0), ("r", 3, 4.0), ("r", None, 6.0)]
    assert damage(address) == [
        f"{tmp_path}/t.csv line 5: a quote is opened and never closed; the line is left out",
        f"{tmp_path}/t.csv line 7: step 'y' is no step; the row is kept without one",
    ]
    (tmp_path / "t.csv").write_text('run,step,loss,note\nr,0,1,5" wide\n')
    assert not damage(address)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"run": "r", "step": 1, "a": {"b": 1}, "a.b": 2}', "two values are called a.b"),
        ('{"run": "\\ud800", "step": 1, "a.b": 1}', "half a character"),
        ('{"run": "\\udfff", "step": 1, "a.b": 1}', "half a character"),
        ('{"run": "r", "\\ud800": "x"}', "half a character"),
        ('{"run": "r", "d": ' + '{"a":' * 300 + "1" + "}" * 301, "nested too deeply"),
        ('{"run": "r", "d": ' + "[" * 10**5 + "]" * 10**5 + "}", "nested too deeply"),
    ],
    ids=lambda value: value[:30],
)
def test_an_odd_object_is_named_with_its_line_and_the_rest_is_read(
    tmp_path: Path, line: str, said: str
) -> None:
    (tmp_path / "t.jsonl").write_text(f'{{"run": "r", "step": 0, "a.b": 0.5}}\n{line}\n')
    address = f"jsonl:{tmp_path}/t.jsonl"
    assert found(address)[0] == ("r", 0, 0.5)
    assert [p["value"] for p in points(address) if p["step"]] in ([], [1.0])
    (what,) = damage(address)
    assert what.startswith(f"{tmp_path}/t.jsonl line 2: ")
    assert said in what


def test_a_quote_that_another_one_closes_costs_no_row_further_down(tmp_path: Path) -> None:
    lines = ["run,step,note,loss", 'a,0,"open,1', 'a,1,"li', 'ne",2', 'a,2,"li', 'ne",3', "a,3,c,4"]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    address = f"csv:{tmp_path}/t.csv"
    assert [(p["step"], p["value"]) for p in points(address)] == [(2, 3.0), (3, 4.0)]
    where = f"{tmp_path}/t.csv line"
    assert damage(address) == [
        f"{where} 2: 3 cells where the header has 4",
        f"{where} 4: 2 cells where the header has 4",
    ]
