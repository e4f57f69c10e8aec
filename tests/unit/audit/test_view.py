"""Pages of an archive: where they lie, what seals make of them, what a kill leaves."""

from __future__ import annotations

import itertools
import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from unit.archive.archives import everything, files_of, runs, write, writer
from unit.archive.killing import Killed, killed_at
from unit.audit import redacting
from unit.audit.sealed import is_bag, problems, said_by_the_copy, sealed, snapshot
from unit.audit.test_packed import as_tar, as_zip
from unit.audit.viewed import data_of, exported, page_in, picture, related, sound, viewed

import trackbridge
from trackbridge.adapter import Query
from trackbridge.audit.keys import Key
from trackbridge.audit.redaction.rules import Rule, Rules
from trackbridge.audit.viewing import files as pages
from trackbridge.audit.viewing.lineage import Lineage
from trackbridge.audit.viewing.media import MOST, kind_of
from trackbridge.audit.viewing.view import view
from trackbridge.cli import main
from trackbridge.errors import ConfigError, IntegrityError
from trackbridge.testing import samples
from trackbridge_adapters.archive import marker


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An archive that is not sealed."""
    place = tmp_path / "new"
    write(place, related())
    return place


def test_pages_are_sealed_like_records(place: Path, key: Key) -> None:
    done = viewed(place)
    assert done.page == str(page_in(place)) and page_in(place).exists()
    assert (done.runs, done.points, done.metrics, done.reduced) == (3, 18, 3, 0)
    sealed(place, key)
    assert problems(place) == {} and is_bag(place)
    assert said_by_the_copy(place)[0] == 0
    manifest = (place / "manifest-sha256.txt").read_text()
    inside = {path for path in files_of(place) if path.startswith("data/viewer/")}
    assert len(inside) == done.files + 1 and all(path in manifest for path in inside)
    assert '"viewer/0001/index.html"' in (place / "data" / "ro-crate-metadata.json").read_text()
    with page_in(place).open("ab") as out:
        out.write(b" ")
    assert set(problems(place)) == {"data/viewer/0001/index.html"}


def test_readers_of_an_archive_do_not_see_its_pages(place: Path) -> None:
    before = everything(place)
    viewed(place)
    assert everything(place) == before


def test_pages_that_are_not_sealed_are_replaced_and_sealed_ones_stay(place: Path, key: Key) -> None:
    viewed(place)
    write(place, runs("d"))
    assert viewed(place).runs == 4
    sealed(place, key)
    before = snapshot(place)
    write(place, runs("e"))
    assert viewed(place).page == str(page_in(place, 2))
    assert viewed(place).runs == 5
    sealed(place, key)
    after = snapshot(place)
    assert problems(place) == {} and is_bag(place)
    assert {p: after[p] for p in before if "viewer" in p} == {
        p: d for p, d in before.items() if "viewer" in p
    }
    seals = data_of(page_in(place, 2), "runs")["state"]["seals"]
    assert [seal["generation"] for seal in seals] == [1] and len(seals[0]["key"]) == 64


def test_pages_that_show_less_than_there_is_are_not_sealed(place: Path, key: Key) -> None:
    viewed(place)
    write(place, runs("d"))
    with pytest.raises(ConfigError, match="make it anew with `trackbridge audit view`"):
        sealed(place, key)
    viewed(place)
    assert sealed(place, key).generation == 1


def test_a_sealed_archive_is_viewed_elsewhere(place: Path, key: Key, tmp_path: Path) -> None:
    viewed(place)
    sealed(place, key)
    before = snapshot(place)
    with pytest.raises(ConfigError, match="what no seal covers; put them elsewhere with --output"):
        viewed(place)
    assert snapshot(place) == before
    done = viewed(place, tmp_path / "pages")
    assert snapshot(place) == before and Path(done.page) == tmp_path / "pages" / "index.html"
    state = data_of(Path(done.page), "runs")["state"]
    assert state["checked"]["count"] == 0 and state["where"] == "outside"
    write(place, runs("d"))
    viewed(place)
    shutil.rmtree(place / "data" / "viewer" / "0002")
    sealed(place, key)
    (place / "README.txt").write_text("mine")
    state = data_of(Path(viewed(place, tmp_path / "pages").page), "runs")["state"]
    assert {problem.split(":")[0] for problem in state["checked"]["problems"]} == {"README.txt"}


@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_a_packed_archive_is_viewed_elsewhere_with_copies_of_what_is_shown(
    place: Path, tmp_path: Path, pack: object
) -> None:
    made = pack(place, "archive/")  # type: ignore[operator]
    with pytest.raises(ConfigError, match="name one with --output"):
        viewed(made)
    page = Path(viewed(made, tmp_path / "pages").page)
    [maker, *_] = data_of(page, "group-00000")
    links = {file["path"]: file["link"] for file in maker["files"]}
    assert {path for path, link in links.items() if link} == {
        "media/0.png",
        "media/1.png",
        "tone.wav",
    }
    for path, link in links.items():
        if link:
            assert (page.parent / link).suffix == Path(path).suffix
            assert (page.parent / link).read_bytes()


def test_a_page_in_the_archive_links_to_its_bytes(place: Path) -> None:
    viewed(place)
    [maker, *_] = data_of(page_in(place), "group-00000")
    for file in maker["files"]:
        if file["path"] == "page.html":
            assert (file["kind"], file["link"]) == ("active", None)
        else:
            assert (page_in(place).parent / file["link"]).read_bytes()
            assert (page_in(place).parent / file["link"]).name == file["sha256"]


def test_a_folder_with_other_files_is_left_alone(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("years")
    with pytest.raises(ConfigError, match="holds other files; name a new folder"):
        viewed(place, other)
    with pytest.raises(ConfigError, match="lies in the archive; leave out --output"):
        viewed(place, place / "pages")
    assert files_of(other) == {"thesis.txt"}
    (other / "thesis.txt").rename(other / "index.html")
    with pytest.raises(ConfigError, match="holds other files; name a new folder"):
        viewed(place, other)


def test_an_archive_elsewhere_is_viewed_here(place: Path, tmp_path: Path) -> None:
    there = f"memory://{tmp_path.name}"
    trackbridge.migrate(f"archive:{place}", f"archive:{there}")
    with pytest.raises(ConfigError, match="pages need a folder; name one with --output"):
        view(f"archive:{there}")
    done = view(f"archive:{there}", tmp_path / "pages")
    assert done.runs == 3 and len(list((tmp_path / "pages").glob("*.png"))) == 2


def test_films_are_copied_without_being_held_in_memory(tmp_path: Path) -> None:
    run = samples.simple("a")
    run.add_file("", "film.webm", b"\x1aE\xdf\xa3" + bytes(64 << 20))
    write(tmp_path / "archive", [run])
    tracemalloc.start()
    try:
        viewed(tmp_path / "archive", tmp_path / "pages")
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    [film] = (tmp_path / "pages").glob("*.webm")
    assert film.stat().st_size == 4 + (64 << 20)


def test_an_archive_without_runs_is_viewed(tmp_path: Path) -> None:
    marker.ensure(writer(tmp_path / "empty").folder)
    assert viewed(tmp_path / "empty").runs == 0


def test_files_that_are_damaged_are_marked_and_the_rest_is_shown(
    place: Path, tmp_path: Path
) -> None:
    viewed(place)
    [maker, *_] = data_of(page_in(place), "group-00000")
    [one, other] = (
        place / "data" / "bytes" / file["sha256"][:2] / file["sha256"]
        for file in maker["files"]
        if file["path"].startswith("media/")
    )
    one.unlink()
    with other.open("r+b") as out:
        out.seek(30)
        out.write(b"?")
    page = Path(viewed(place, tmp_path / "pages").page)
    [maker, *_] = data_of(page, "group-00000")
    kinds = {file["path"]: file["kind"] for file in maker["files"]}
    assert (kinds["media/0.png"], kinds["media/1.png"]) == ("lost", "lost")
    assert kinds["tone.wav"] == "audio"
    assert not list(page.parent.glob("*.png"))


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_nothing_that_is_taken_for_whole(
    place: Path, key: Key, tmp_path: Path
) -> None:
    viewed(place)
    write(place, runs("d"))
    for moment in itertools.count():
        again = Path(shutil.copytree(place, tmp_path / "killed" / "archive"))
        try:
            with killed_at(moment):
                viewed(again)
        except Killed:
            whole = pages.read(writer(again).folder, "data/viewer/0001")
            if whole is None:
                sealed(again, key)
                assert not any(path.startswith("data/viewer/") for path in files_of(again))
                assert problems(again) == {} and is_bag(again)
            else:
                if len(data_of(page_in(again), "runs")["runs"]["run_id"]) == 3:
                    with pytest.raises(ConfigError, match="make it anew"):
                        sealed(again, key)
                    assert viewed(again).runs == 4
                sealed(again, key)
                assert problems(again) == {}
        else:
            assert moment > 8
            break
        shutil.rmtree(again.parent)


def test_a_page_is_there_only_when_all_its_data_is(place: Path, tmp_path: Path) -> None:
    whole = files_of(Path(viewed(place, tmp_path / "whole").page).parent)
    for moment in itertools.count():
        again = tmp_path / "pages"
        shutil.rmtree(again, ignore_errors=True)
        try:
            with killed_at(moment):
                viewed(place, again)
        except Killed:
            there = {path for path in files_of(again) if not path.startswith(".")}
            assert "index.html" not in there or whole - there <= {"viewer.json"}
            assert viewed(place, again).runs == 3
        else:
            break


@pytest.mark.parametrize(
    "files", [None, {"../x.js": [1, "0" * 64]}, {"runs.js": [1, 2]}, {"runs.js": ["1", "0" * 64]}]
)
def test_a_damaged_list_of_pages_is_named(place: Path, key: Key, files: object) -> None:
    viewed(place)
    commit = page_in(place).with_name("viewer.json")
    commit.write_text(json.dumps({"state": "", "files": files}))
    with pytest.raises(IntegrityError, match=r"viewer\.json is damaged .*make the pages again"):
        sealed(place, key)
    viewed(place)
    sealed(place, key)
    assert problems(place) == {}


def test_an_interrupted_seal_is_ended_first(place: Path, key: Key) -> None:
    (place / "sealing.json").write_text(json.dumps({"generation": 1}))
    with pytest.raises(ConfigError, match="sealing was interrupted; `trackbridge audit seal` ends"):
        viewed(place)


def test_pages_of_redacted_records_say_so_and_hold_no_secret(tmp_path: Path) -> None:
    source = redacting.memory([redacting.planted(samples.everything())])
    rules = Rules((Rule("customer", "hash", regex=r"ACME-\d+"),))
    redacting.exported(source, tmp_path / "archive", rules)
    viewed(tmp_path / "archive")
    page = page_in(tmp_path / "archive")
    told = data_of(page, "runs")["state"]["redactions"]
    assert ("customer", "hash") in {(each["rule"], each["action"]) for each in told}
    for path in page.parent.iterdir():
        text = path.read_text(encoding="utf-8")
        assert [secret for secret in redacting.SECRETS.values() if secret in text] == [], path


def test_what_many_runs_share_names_some_of_them() -> None:
    lineage = Lineage()
    for run in range(1, 251):
        lineage.add(run, [], [{"name": "numbers:v3", "digest": None}])
    made = {"collection": "numbers", "version": "v3", "digest": "d", "direction": "logged"}
    lineage.add(0, [made], [])
    lineage.add(251, [], [{"name": "alone", "digest": "e"}])
    [thing, same] = lineage.document()
    assert (thing["thing"], same["thing"]) == ("numbers:v3", "numbers@d")
    assert thing["made"] == [0] and thing["used"] == [*range(1, 101)]
    assert thing["more"] == same["more"] == {"made": 0, "used": 150}
    assert (same["made"], same["used"]) == (thing["made"], thing["used"])


@pytest.mark.parametrize(
    ("begin", "kind"),
    [
        (picture(), ("image", "png")),
        (b"\xff\xd8\xff\xe0", ("image", "jpg")),
        (b"BM\x46\0\0\0\0\0\0\0", ("image", "bmp")),
        (b"BMI,age,sex\n", ("", "")),
        (b"RIFF\0\0\0\0WEBPVP8 ", ("image", "webp")),
        (sound(), ("audio", "wav")),
        (b"ID3 is a tree", ("", "")),
        (b"\0\0\0\x18ftypisom", ("video", "mp4")),
        (b" " * 2000 + b"<svg>", ("active", "")),
        ("\ufeff\n<html>".encode("utf-16-be"), ("active", "")),
        (b"<!-- -->", ("active", "")),
        (b"%PDF-1.7", ("active", "")),
        (b"a < b", ("", "")),
        (b"", ("", "")),
    ],
)
def test_bytes_are_known_by_how_they_begin(begin: bytes, kind: tuple[str, str]) -> None:
    assert kind_of(begin[:MOST]) == kind


def test_a_ledger_that_is_damaged_is_named(tmp_path: Path) -> None:
    place = tmp_path / "archive"
    source = redacting.memory([redacting.planted(samples.everything())])
    redacting.exported(source, place, Rules())
    [ledger] = (place / "data" / "redactions").iterdir()
    ledger.write_text("rule,action,count\ncustomer,mask,many\n")
    with pytest.raises(IntegrityError, match=f"{ledger.name} is damaged"):
        viewed(place, tmp_path / "pages")


def test_the_command_says_where_the_page_is(place: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["audit", "view", str(place)])
    assert done.exit_code == 0
    assert done.output.startswith(f"{page_in(place)}: 3 runs, 18 points, 3 metrics; ")
    told = CliRunner().invoke(main, ["audit", "view", str(place), "--json"])
    assert json.loads(told.stdout)["page"] == str(page_in(place))
    wrong = CliRunner().invoke(main, ["audit", "view", str(tmp_path / "nowhere")])
    assert wrong.exit_code == 2 and "no archive there" in wrong.output


def test_long_series_are_reduced_and_counted(tmp_path: Path) -> None:
    run = samples.long("long", 70_000)
    run.tables["metrics"][5]["value"] = float("nan")
    run.tables["metrics"][40_000]["value"] = -1e6
    run.tables["metrics"][66_666]["value"] = float("inf")
    write(tmp_path / "long", [run])
    done = viewed(tmp_path / "long")
    assert (done.points, done.metrics, done.reduced) == (70_000, 1, 1)
    [[detail]] = [data_of(page_in(tmp_path / "long"), "group-00000")]
    [metric] = detail["metrics"]
    assert (metric["count"], metric["nan"], metric["infinite"]) == (70_000, 1, 1)
    assert 1000 <= metric["stretches"] <= 2001 and metric["kept"] <= 2 * metric["stretches"] + 2
    import base64

    values = np.frombuffer(base64.b64decode(metric["values"]), "<f8")
    assert values.min() == -1e6 and values[0] == 0 and values[-1] == 69_999 / 7
    assert len(values) == metric["kept"]


@pytest.mark.parametrize(
    "store",
    ["wandb-0.31/wandb", "mlflow-3.17/mlflow.db", "mlflow-2.9/mlruns", "genai-3.17/mlflow.db"],
)
def test_stores_that_real_clients_wrote_are_shown_whole(tmp_path: Path, store: str) -> None:
    place = exported(store, tmp_path / "archive")
    done = viewed(place)
    page = page_in(place)
    table = data_of(page, "runs")
    details = [run for n in range(len(table["groups"])) for run in data_of(page, f"group-{n:05d}")]
    assert len(details) == done.runs == len(table["runs"]["run_id"])
    assert [detail["run"]["run_id"] for detail in details] == table["runs"]["run_id"]
    expected: dict[str, int] = {}
    read = writer(place)
    for batch in read.read_runs([info.ref for info in read.list_runs(Query())]):
        expected[batch.table] = expected.get(batch.table, 0) + batch.data.num_rows
    for table_name in ("params", "tags", "summary", "inputs", "artifacts", "files", "alerts"):
        assert sum(len(d[table_name]) for d in details) == expected.get(table_name, 0)
    shared = {"projects": table["about"], **data_of(page, "others")["tables"]}
    for batch in read.read_shared(Query()):
        said = [{k: v for k, v in row.items() if v is not None} for row in batch.data.to_pylist()]
        assert [set(row) for row in shared[batch.table]] == [set(row) for row in said]
    points = sum(metric["count"] for d in details for metric in d["metrics"])
    others = sum(series["count"] for d in details for series in d["series"])
    assert points == expected.get("metrics", 0) and others == expected.get("series", 0)
