"""How records, files and folders become rows."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.wandb_files import folders
from unit.wandb_files.folders import REF, exit_with, log, read_one, record, run_record, write
from unit.wandb_files.stores import FIXTURES, damage, open_store, read, refs

from trackbridge.adapter import FileRef, Query, RunKey, RunRef
from trackbridge.errors import NotFoundError
from trackbridge_adapters.wandb import ADAPTER, jsontext, names
from trackbridge_adapters.wandb import folders as run_folders

MISSING = Path("/nonexistent")


# Names


paths: st.SearchStrategy[names.Path] = st.lists(
    st.text(alphabet="ab._\\"), min_size=1, max_size=3
).map(tuple)


@given(st.lists(paths, unique=True))
def test_every_key_has_a_name_of_its_own_that_leads_back_to_it(keys: list[names.Path]) -> None:
    given_names = names.Given({})
    found = {given_names.of(key): key for key in keys}
    special = names.checked(given_names.special)
    assert len(found) == len(keys)
    assert {name: special.get(name, names.parts(name)) for name in found} == found
    again = names.Given(special)
    assert {again.of(key): key for key in reversed(keys)} == found


@given(st.lists(st.text(), min_size=1))
def test_gathered_keys_are_unpacked(path: list[str]) -> None:
    assert names.unpack(names.pack(path)) == tuple(path)


@given(st.sampled_from(["_step", "_timestamp"]), st.integers(0, 3))
def test_reserved_names_come_back(name: str, dots: int) -> None:
    name += "." * dots
    assert names.reserve(name) not in names.RESERVED
    assert names.unreserve(names.reserve(name)) == name


def test_nested_and_dotted_keys_stay_apart(tmp_path: Path) -> None:
    call = log(0, a__b="1", loss="2")
    call.history.item.add(key="a.b", value_json="3")
    write(tmp_path, run_record(), call)
    found = {row["key"]: row["value"] for row in read_one(tmp_path)["metrics"]}
    marked = next(name for name in found if name.startswith("a.b_"))
    assert found == {"a.b": 1.0, "loss": 2.0, marked: 3.0}


def test_a_key_with_a_dot_keeps_its_name(tmp_path: Path) -> None:
    call = log(0)
    call.history.item.add(key="train.loss", value_json="3")
    write(tmp_path, run_record(), call)
    tables = read_one(tmp_path)
    assert [row["key"] for row in tables["metrics"]] == ["train.loss"]
    [row] = tables["runs"]
    assert json.loads(row["extra"])["special_names"] == {"train.loss": ["train.loss"]}


def test_a_name_that_a_mark_would_make_is_no_trap() -> None:
    first = names.Given({})
    first.of(("a.b",))
    trap = first.of(("a", "b"))
    given_names = names.Given({})
    found = [given_names.of(key) for key in ((trap,), ("a.b",), ("a", "b"))]
    assert len(set(found)) == 3
    assert names.checked(given_names.special) == given_names.special


@pytest.mark.parametrize(
    "special",
    [
        5,
        {"a": 1},
        {"a.b": [1, 2]},
        {"a": ["b"]},
        {"a.b": ["a", "b"]},
        {"a.b_x": ["a", "b"]},
        {"a.b": ["a.b"], "a.b_x": ["a.b"]},
    ],
)
def test_special_names_that_no_reader_gives_are_refused(special: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        names.checked(special)


# JSON texts


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values, st.sampled_from([None, 1]))
def test_json_is_taken_apart_and_put_together_again(value: object, indent: int | None) -> None:
    node = jsontext.parse(json.dumps(value, indent=indent))
    assert json.loads(jsontext.dump(node)) == value


@given(st.text(alphabet='{}[]":,0123456789.eE-+ntfalsru \\', max_size=20))
def test_text_is_json_exactly_where_python_says_so(text: str) -> None:
    def accepts(parse: object) -> bool:
        try:
            parse(text)  # type: ignore[operator]
        except ValueError:
            return False
        return True

    assert accepts(jsontext.parse) == accepts(lambda t: json.loads(t, strict=False))


def test_numbers_keep_their_spelling() -> None:
    text = '{"a": 1.0, "b": [1, 1.0,  NaN], "c": {"d": 1e5, "e": {}}}'
    leaves = dict(jsontext.leaves(jsontext.parse(text)))  # type: ignore[arg-type]
    assert leaves[("a",)] == "1.0"
    assert leaves[("b",)] == "[1, 1.0,  NaN]"
    assert leaves[("c", "d")] == "1e5"
    assert leaves[("c", "e")] == "{}"


# Points


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (str(2**53 + 1), "integer"),
        (str(-(2**63)), None),
        ("9" * 400, "integer"),
        ("100000000000000000000", None),
        ("123456789012345680000", None),
        ("123456789012345680001", "integer"),
        ("true", "boolean"),
        ("null", "null"),
        ('"x"', "text"),
        ("[1]", "json"),
        ("{}", "json"),
        ('{"_type": "object3D-file", "path": "media/a.obj"}', "json"),
        ('{"_type": "image-file", "path": "media/a.png"}', "image"),
        ("NaN", None),
        ("-Infinity", None),
        ("1e400", None),
    ],
)
def test_a_value_is_a_number_or_a_point_of_its_kind(
    tmp_path: Path, text: str, kind: str | None
) -> None:
    write(tmp_path, run_record(), log(0, x=text))
    tables = read_one(tmp_path)
    if kind is None:
        [row] = tables["metrics"]
        assert repr(row["value"]) == repr(float(text))
    else:
        [row] = tables["series"]
        assert (row["kind"], row["value"]) == (kind, text)


def test_an_object_that_was_spread_over_nested_keys_is_one_point_again(tmp_path: Path) -> None:
    call = log(
        3,
        loss="1",
        a__image___type='"image-file"',
        a__image__path='"media/x.png"',
        a__image__boxes__n="2",
        a__plain="5",
    )
    write(tmp_path, run_record(), call, log(4, a__image__path='"no object"'))
    tables = read_one(tmp_path)
    assert {row["key"]: row["value"] for row in tables["metrics"]} == {"loss": 1.0, "a.plain": 5.0}
    image, text = sorted(tables["series"], key=lambda row: row["step"])
    assert (image["key"], image["kind"], image["path"]) == ("a.image", "image", "media/x.png")
    assert json.loads(image["value"]) == {
        "_type": "image-file",
        "path": "media/x.png",
        "boxes": {"n": 2},
    }
    assert (text["key"], text["kind"]) == ("a.image.path", "text")


def test_a_plain_object_is_taken_apart(tmp_path: Path) -> None:
    write(
        tmp_path, run_record(), log(0, a='{"b": {"c": 1, "d.e": 2}, "f": {"_type": "x"}, "g": {}}')
    )
    tables = read_one(tmp_path)
    assert {r["key"]: r["value"] for r in tables["metrics"]} == {"a.b.c": 1.0, "a.b.d.e": 2.0}
    assert {r["key"]: r["kind"] for r in tables["series"]} == {"a.f": "json", "a.g": "json"}


def test_values_of_newer_protocols_are_read(tmp_path: Path) -> None:
    call = log(0)
    call.history.item.add(key="i", integer=-5)
    call.history.item.add(key="d", number=0.5)
    call.history.item.add(key="b", boolean=True)
    call.history.item.add(key="t", text="ü")
    call.history.item.add(key="n", none=0)
    call.history.item.add(key="j", json='{"_type": "histogram"}')
    write(tmp_path, run_record(), call)
    tables = read_one(tmp_path)
    assert {row["key"]: row["value"] for row in tables["metrics"]} == {"i": -5.0, "d": 0.5}
    kinds = {row["key"]: row["kind"] for row in tables["series"]}
    assert kinds == {"b": "boolean", "t": "text", "n": "null", "j": "histogram"}


def test_calls_without_values_count_as_rows(tmp_path: Path) -> None:
    write(tmp_path, run_record(), log(0, x="1"), log(None), log(2, x="2"))
    assert [(r["row"], r["step"]) for r in read_one(tmp_path)["metrics"]] == [(0, 0), (2, 2)]


def test_a_step_or_time_that_is_none_is_an_ordinary_value(tmp_path: Path) -> None:
    write(tmp_path, run_record(), log(7, _step='"x"', _timestamp="NaN", x="1"))
    tables = read_one(tmp_path)
    assert {row["key"] for row in tables["metrics"]} == {"_timestamp", "x"}
    assert [row["key"] for row in tables["series"]] == ["_step"]
    assert {(row["step"], row["time"]) for row in tables["metrics"]} == {(7, None)}


def test_a_value_that_is_no_json_is_kept_as_text_and_named(tmp_path: Path) -> None:
    write(tmp_path, run_record(), log(0, x="{broken", y="1"))
    tables = read_one(tmp_path)
    [row] = tables["series"]
    assert (row["kind"], json.loads(row["value"])) == ("text", "{broken")
    assert damage(tables) == ["log call 0: the value of 'x' is not JSON"]


def test_batches_have_at_most_64k_rows_in_order(tmp_path: Path) -> None:
    calls = [log(n, **{f"k{i}": str(i) for i in range(500)}) for n in range(300)]
    write(tmp_path, run_record(), *calls)
    rows = 0
    for batch in open_store(tmp_path).read_runs([REF], ["metrics"]):
        assert batch.data.num_rows <= 65_536
        rows += batch.data.num_rows
    assert rows == 150_000


# Config, summary, definitions


def test_config_is_what_updates_and_removals_leave(tmp_path: Path) -> None:
    def change(made: object) -> None:
        config = made.config  # type: ignore[attr-defined]
        config.update.add(nested_key=["a", "b"], value_json='{"x": 1}')
        config.update.add(key="c", value_json="1.50")
        config.remove.add(nested_key=["a", "gone"])
        config.remove.add(key="old")

    start = run_record(a={"b": 1, "gone": 2}, old=3, _wandb={"t": 1})
    write(tmp_path, start, record(change))
    tables = read_one(tmp_path)
    assert {(r["key"], r["path"], r["value"], r["type"]) for r in tables["params"]} == {
        ("a.b.x", '["a", "b", "x"]', "1", "integer"),
        ("c", None, "1.50", "float"),
    }
    assert json.loads(tables["runs"][0]["extra"])["_wandb"] == {"t": 1}


def test_files_tell_what_no_record_has(tmp_path: Path) -> None:
    folder = write(tmp_path, run_record(kept=1))
    (folder / "files" / "config.yaml").write_text(
        "wandb_version: 1\n\nkept:\n  desc: null\n  value: 2\nlr:\n  value: 1e-05\n"
    )
    (folder / "files" / "wandb-summary.json").write_text('{"best": NaN, "deep": {"er": 1}}')
    (folder / "files" / "wandb-metadata.json").write_text(
        '{"program": "train.py", "username": "me", "git": {"commit": "c0ffee"}}'
    )
    tables = read_one(tmp_path)
    assert {r["key"]: r["value"] for r in tables["params"]} == {"kept": "1", "lr": "1e-05"}
    assert {r["key"]: r["value"] for r in tables["summary"]} == {"best": "NaN", "deep.er": "1"}
    [row] = tables["runs"]
    assert (row["program"], row["user"], row["git_commit"]) == ("train.py", "me", "c0ffee")


def test_files_that_cannot_be_understood_are_damage(tmp_path: Path) -> None:
    folder = write(tmp_path, run_record())
    (folder / "files" / "config.yaml").write_text("a: [1, 2")
    (folder / "files" / "wandb-summary.json").write_text("{")
    (folder / "files" / "wandb-metadata.json").write_bytes(b"\xff\xfe")
    named = damage(read_one(tmp_path))
    assert [text.partition(":")[0] for text in named] == [
        "files/config.yaml",
        "files/wandb-metadata.json",
        "files/wandb-summary.json",
    ]


@pytest.mark.parametrize(
    ("records", "status", "seconds"),
    [
        ([], "crashed", None),
        ([exit_with(0, 25)], "finished", 25),
        ([exit_with(3, 0)], "failed", 0),
    ],
)
def test_the_exit_record_says_how_and_when_a_run_ended(
    tmp_path: Path, records: list[object], status: str, seconds: int | None
) -> None:
    write(tmp_path, run_record(started=1_700_000_000), *records)
    [row] = read_one(tmp_path)["runs"]
    assert row["status"] == status
    ended = None if row["ended"] is None else int(row["ended"].timestamp()) - 1_700_000_000
    assert ended == seconds
    [info] = open_store(tmp_path).list_runs(Query())
    assert (info.status, info.started) == (row["status"], row["started"])


def test_a_definition_of_a_metric_is_changed_by_later_ones(tmp_path: Path) -> None:
    def define(made: object) -> None:
        metric = made.metric  # type: ignore[attr-defined]
        metric.name, metric.summary.min = "loss", True

    def more(made: object) -> None:
        metric = made.metric  # type: ignore[attr-defined]
        metric.name, metric.summary.max, metric.step_metric = "loss", True, "epoch"

    write(tmp_path, run_record(), record(define), record(more))
    [row] = read_one(tmp_path)["metric_defs"]
    assert (row["key"], row["summary"], row["x_axis"]) == ("loss", "min,max", "epoch")


def test_records_of_unknown_types_are_counted(tmp_path: Path) -> None:
    newer = record(lambda made: made.ParseFromString(b"\xea\x0f\x02\x08\x01"))
    write(tmp_path, run_record(), newer, newer, log(0, x="1"))
    tables = read_one(tmp_path)
    assert json.loads(tables["runs"][0]["extra"])["unknown_records"] == 2
    assert len(tables["metrics"]) == 1


# Locations


def test_a_store_is_found_from_its_file_up_to_the_folder_around_it() -> None:
    store = FIXTURES / "wandb-0.31"
    [file] = store.glob("wandb/*-config01/*.wandb")
    for location in (file, file.parent):
        assert ADAPTER.recognizes(str(location))
        assert refs(open_store(location)) == [RunRef("example/fixtures", "config01")]
    assert ADAPTER.recognizes(str(store))
    assert refs(open_store(store)) == refs(open_store(store / "wandb"))


@pytest.mark.parametrize(
    "location", ["https://wandb.ai/a/b", str(MISSING), str(FIXTURES), __file__]
)
def test_other_places_are_not_recognized(location: str) -> None:
    assert not ADAPTER.recognizes(location)


def test_a_place_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFoundError, match="/nonexistent"):
        open_store(MISSING)


def test_online_runs_are_known_by_the_entity_that_the_server_told(tmp_path: Path) -> None:
    first = run_record()
    first.run.entity = ""
    write(tmp_path, first, log(0, x="1"), run_record())
    assert refs(open_store(tmp_path)) == [REF]
    write(tmp_path / "offline", first, run_record(), name="offline-run-20240101_000000-abc")
    assert refs(open_store(tmp_path / "offline")) == [RunRef("project", "abc")]


def test_runs_of_one_id_in_two_projects_are_two_runs(tmp_path: Path) -> None:
    other = run_record()
    other.run.project = "other"
    write(tmp_path, run_record())
    write(tmp_path, other, name="run-20240102_000000-abc")
    assert refs(open_store(tmp_path)) == [RunRef("team/other", "abc"), REF]


def test_rows_of_a_resumed_run_go_on_and_it_ends_with_its_last_process(tmp_path: Path) -> None:
    write(
        tmp_path,
        run_record(started=1000),
        log(0, x="1"),
        exit_with(1),
        name="run-20240101_000000-abc",
    )
    write(
        tmp_path,
        run_record(started=2000),
        log(1, x="2"),
        exit_with(0, 5),
        name="run-20240102_000000-abc",
    )
    tables = read_one(tmp_path)
    assert [(r["row"], r["value"]) for r in tables["metrics"]] == [(0, 1.0), (1, 2.0)]
    [row] = tables["runs"]
    assert row["status"] == "finished"
    assert (row["started"].timestamp(), row["ended"].timestamp()) == (1000, 2005)


def test_the_fingerprint_changes_with_any_file(tmp_path: Path) -> None:
    folder = write(tmp_path, run_record())
    reader = open_store(tmp_path)

    def fingerprint() -> str:
        [info] = reader.list_runs(Query())
        return info.fingerprint

    before = fingerprint()
    assert before == fingerprint()
    (folder / "files" / "new.txt").write_text("x")
    after = fingerprint()
    os.utime(folder / "files" / "new.txt", (1, 1))
    assert len({before, after, fingerprint()}) == 3


def test_a_run_is_its_own_origin(tmp_path: Path) -> None:
    write(tmp_path, run_record())
    [info] = open_store(tmp_path).list_runs(Query())
    assert (info.key, info.carried) == (RunKey("wandb", "", "team/project", "abc"), False)


# Files


def test_links_are_followed_within_the_run_or_where_the_run_saved_them(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("outside")
    saved = record(lambda made: made.files.files.add(path="saved.txt"))  # type: ignore[attr-defined]
    folder = write(tmp_path, run_record(), saved)
    files = folder / "files"
    (files / "plain.txt").write_text("plain")
    (files / "inner.txt").symlink_to(files / "plain.txt")
    (files / "saved.txt").symlink_to(outside)
    (files / "escaping.txt").symlink_to(outside)
    (files / "dangling.txt").symlink_to(tmp_path / "nothing")
    (files / "folder").symlink_to(tmp_path)
    reader = open_store(tmp_path)
    tables = read(reader, REF)
    assert {r["path"]: r["size"] for r in tables["files"]} == {
        "plain.txt": 5,
        "inner.txt": 5,
        "saved.txt": 7,
        "escaping.txt": None,
        "dangling.txt": None,
        "folder": None,
    }
    with reader.open_file(FileRef(REF, "", "saved.txt")) as data:
        assert data.read() == b"outside"
    for name in ("escaping.txt", "dangling.txt", "folder"):
        with pytest.raises(NotFoundError):
            reader.open_file(FileRef(REF, "", name))
    assert [text.partition(":")[0] for text in damage(tables)] == [
        "files/dangling.txt",
        "files/escaping.txt",
        "files/folder",
    ]


def test_a_saved_file_that_is_gone_is_named(tmp_path: Path) -> None:
    def saved(made: object) -> None:
        for path in ("gone.txt", "*.ckpt", "../../secret"):
            made.files.files.add(path=path)  # type: ignore[attr-defined]

    write(tmp_path, run_record(), record(saved))
    tables = read_one(tmp_path)
    assert [row["path"] for row in tables["files"]] == ["gone.txt"]
    assert damage(tables) == ["files/gone.txt: the file is missing"]


def test_files_that_a_resumed_run_wrote_anew_are_both_there(tmp_path: Path) -> None:
    for day, text in (("01", "first"), ("02", "second"), ("03", "second")):
        folder = write(tmp_path, run_record(), name=f"run-202401{day}_000000-abc")
        (folder / "files" / "output.log").write_text(text)
    reader = open_store(tmp_path)
    paths = [row["path"] for row in read(reader, REF)["files"]]
    assert paths == ["output.log", "run-20240101_000000-abc/output.log"]
    for path, content in zip(paths, [b"second", b"first"]):
        with reader.open_file(FileRef(REF, "", path)) as data:
            assert data.read() == content


def test_the_sidecar_of_a_run_that_we_wrote_is_opened_but_not_listed(tmp_path: Path) -> None:
    folder = write(tmp_path, run_record(trackbridge={"run_key": str(RunKey("a", "", "b", "c"))}))
    (folder / "files" / "trackbridge").mkdir()
    (folder / "files" / "trackbridge" / "sidecar.zip").write_bytes(b"zip")
    (folder / "files" / "trackbridge" / "notes.txt").write_bytes(b"mine")
    reader = open_store(tmp_path)
    assert [row["path"] for row in read(reader, REF)["files"]] == ["trackbridge/notes.txt"]
    for path, content in (("sidecar.zip", b"zip"), ("notes.txt", b"mine")):
        with reader.open_file(FileRef(REF, "", f"trackbridge/{path}")) as data:
            assert data.read() == content
    for path in ("trackbridge/none", "trackbridge/../../run-abc.wandb", "../run-abc.wandb"):
        with pytest.raises(NotFoundError):
            reader.open_file(FileRef(REF, "", path))


def test_in_a_run_of_wandb_nothing_is_ours_whatever_it_is_called(tmp_path: Path) -> None:
    paths = ["trackbridge/notes.txt", "trackbridge/sidecar.zip"]
    saved = record(lambda made: [made.files.files.add(path=path) for path in paths])
    looks_like_ours = record(
        lambda made: made.config.update.add(key="trackbridge", value_json='{"run_key": "a//b/c"}')
    )
    folder = write(tmp_path, run_record(), saved, looks_like_ours)
    (folder / "files" / "trackbridge").mkdir()
    for path in paths:
        (folder / "files" / path).write_text(path)
    reader = open_store(tmp_path)
    tables = read(reader, REF)
    assert [row["path"] for row in tables["files"]] == paths
    assert damage(tables) == []
    for path in paths:
        with reader.open_file(FileRef(REF, "", path)) as data:
            assert data.read().decode() == path


@pytest.mark.parametrize(("name", "harm"), [("offline-run", 6), ("run", 5)])
def test_artifact_paths_that_lead_out_are_not_followed(
    tmp_path: Path, name: str, harm: int
) -> None:
    """Bytes that were uploaded are no damage where they are missing."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")

    def artifact(made: object) -> None:
        made.artifact.name = "evil"  # type: ignore[attr-defined]
        contents = made.artifact.manifest.contents  # type: ignore[attr-defined]
        for path in ("../x", "/etc/hostname", "a/../../x", "..\\x", ""):
            contents.add(path=path, size=6, local_path=str(secret))
        contents.add(path="fine", size=6, digest="", local_path=str(secret))

    folder = f"{name}-20240101_000000-abc"
    write(tmp_path / "wandb", run_record(), record(artifact), name=folder)
    reader = open_store(tmp_path)
    tables = read(reader, REF)
    assert [row["path"] for row in tables["files"]] == ["fine"]
    assert len(damage(tables)) == harm
    with pytest.raises(NotFoundError):  # of the right size, but not what the manifest says
        reader.open_file(FileRef(REF, "evil:v0", "fine"))


def test_the_console_is_read_in_order_with_its_streams(tmp_path: Path) -> None:
    def printed(stream: int, text: str, nanos: int) -> object:
        def fill(made: object) -> None:
            output = made.output_raw  # type: ignore[attr-defined]
            output.output_type, output.line, output.timestamp.nanos = stream, text, nanos

        return record(fill)

    write(tmp_path, run_record(), printed(1, "\rout", 1500), printed(0, "err\n", 2000))
    logs = read_one(tmp_path)["logs"]
    assert [(r["stream"], r["line"], r["text"]) for r in logs] == [
        ("stdout", 0, "\rout"),
        ("stderr", 1, "err\n"),
    ]
    assert [r["time"].microsecond for r in logs] == [2, 2]


def test_helpers_write_what_wandb_would(tmp_path: Path) -> None:
    folder = folders.write(tmp_path, run_record(), exit_with(0))
    assert [path.name for path in sorted(folder.iterdir())] == ["files", "run-abc.wandb"]


def test_a_large_manifest_is_read_from_its_own_file_in_a_moved_tree(tmp_path: Path) -> None:
    staging = tmp_path / "data" / "artifacts" / "staging"
    staging.mkdir(parents=True)
    (staging / "tmp1").write_bytes(b"bytes")
    entries = [
        {"path": "a.bin", "digest": "x", "size": 5, "local_path": "/gone/artifacts/staging/tmp1"},
        {"path": "b", "digest": "etag", "ref": "s3://bucket/b", "extra": {"versionID": "1"}},
    ]
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (staging / "m.jl.gz").write_bytes(gzip.compress(lines.encode()))

    def artifact(made: Any) -> None:
        made.artifact.name = "large"
        made.artifact.manifest.manifest_file_path = "/gone/artifacts/staging/m.jl.gz"

    write(tmp_path / "wandb", run_record(), record(artifact))
    reader = open_store(tmp_path / "wandb")
    tables = read(reader, REF)
    assert damage(tables) == []
    rows = {row["path"]: row for row in tables["files"]}
    assert rows["b"]["reference"] == "s3://bucket/b"
    assert json.loads(rows["b"]["extra"]) == {"digest": "etag", "versionID": "1"}
    with reader.open_file(FileRef(REF, "large:v0", "a.bin")) as data:
        assert data.read() == b"bytes"


def test_times_of_no_year_are_no_times(tmp_path: Path) -> None:
    start = run_record(started=2**60)

    def environment(made: Any) -> None:
        made.environment.started_at.nanos = -1
        made.environment.username = "me"

    write(tmp_path, start, record(environment), log(0, _timestamp="1e15", x="1"), exit_with(0, 5))
    tables = read_one(tmp_path)
    [row] = tables["runs"]
    assert (row["started"], row["ended"], row["user"]) == (None, None, "me")
    assert {row["time"] for row in tables["metrics"]} == {None}


# Looking again


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the run folders whose files are opened to see which run they are."""
    names: list[str] = []
    whole = run_folders.open_folder

    def watched(path: Path) -> run_folders.Folder:
        names.append(path.name)
        return whole(path)

    monkeypatch.setattr(run_folders, "open_folder", watched)
    return names


def test_only_what_has_changed_is_opened_when_runs_are_listed_again(
    tmp_path: Path, opened: list[str]
) -> None:
    one, two = (write(tmp_path, run_record(i), name=f"run-20240101_000000-{i}") for i in "ab")
    reader = open_store(tmp_path)
    before = list(reader.list_runs(Query()))
    assert opened == [one.name, two.name]
    assert list(reader.list_runs(Query())) == before
    assert len(opened) == 2
    shutil.rmtree(two)
    write(tmp_path, run_record("c"), log(0, x="1"), exit_with(0), name=two.name)
    assert [(i.ref.run_id, i.status) for i in reader.list_runs(Query())] == [
        ("a", "crashed"),
        ("c", "finished"),
    ]
    assert opened[2:] == [two.name]


def test_a_run_that_ends_after_it_was_listed_is_seen_to_have_ended(
    tmp_path: Path, opened: list[str]
) -> None:
    folder = write(tmp_path, run_record())
    reader = open_store(tmp_path)
    [before] = reader.list_runs(Query())
    shutil.rmtree(folder)
    write(tmp_path, run_record(), exit_with(0))
    [after] = reader.list_runs(Query())
    assert (before.status, after.status) == ("crashed", "finished")
    assert opened == [folder.name] * 2


def test_folders_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    known: dict[Path, run_folders.Folder] = {}
    paths = [write(tmp_path, run_record(i), name=f"run-20240101_000000-{i}") for i in "ab"]
    run_folders.find_runs(tmp_path, known)
    assert list(known) == paths
    shutil.rmtree(paths[0])
    run_folders.find_runs(tmp_path, known)
    assert list(known) == paths[1:]
