"""Archives are sealed, extended and sealed again, whatever moment the process dies at."""

from __future__ import annotations

import itertools
import shutil
import urllib.request
from pathlib import Path

import bagit
import pytest
from unit.archive.archives import contents, files_of, runs, write, writer
from unit.archive.killing import Killed, killed_at
from unit.audit.sealed import is_bag, problems, said_by_the_copy, sealed, snapshot

from trackbridge import migrate
from trackbridge.audit import verify
from trackbridge.audit.check import check
from trackbridge.audit.keys import Key
from trackbridge.audit.seal import seal
from trackbridge.errors import ConfigError, IntegrityError, NotFoundError
from trackbridge.filing import REFERENCE, FileChoice


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An archive that is not sealed."""
    place = tmp_path / "new"
    write(place, runs("ab"))
    return place


def test_what_was_never_sealed_says_so(place: Path) -> None:
    assert problems(place) == {"": "unsealed: `trackbridge audit seal` seals an archive"}


def test_sealing_again_changes_nothing(place: Path, key: Key) -> None:
    first = sealed(place, key)
    before = snapshot(place)
    assert sealed(place, key) == first._replace(new=False)
    assert snapshot(place) == before


def test_a_later_generation_adds_and_rewrites_nothing(place: Path, key: Key) -> None:
    sealed(place, key)
    before = snapshot(place)
    write(place, runs("bc", loss=0.125))
    assert any("was added since" in what for what in problems(place).values())
    assert sealed(place, key).generation == 2
    assert problems(place) == {} and is_bag(place)
    assert contents(place) == {"a": 0.5, "b": 0.125, "c": 0.125}
    after = snapshot(place)
    for path, data in before.items():
        assert after.get(f"seals/0001/{path}", after[path]) == data
    replaced = {path for path in before if path.startswith("data/") and after[path] != before[path]}
    assert replaced == {"data/ro-crate-metadata.json"}


def test_a_sealed_archive_keeps_what_a_sweep_would_remove(place: Path, key: Key) -> None:
    sealed(place, key)
    before = snapshot(place)
    write(place, runs("ab", loss=0.125))
    writer(place).sweep()
    assert before.items() <= snapshot(place).items()


def test_the_same_records_are_the_same_bytes(tmp_path: Path, key: Key) -> None:
    found = []
    for name in ("one", "other"):
        write(tmp_path / name, runs("ab"))
        sealed(tmp_path / name, key)
        found.append({p: d for p, d in snapshot(tmp_path / name).items() if p.startswith("data/")})
    assert found[0] == found[1]


def test_a_strange_file_is_not_sealed_with_the_rest(place: Path, key: Key) -> None:
    (place / "data" / "notes.txt").write_text("mine")
    before = snapshot(place)
    with pytest.raises(ConfigError, match=r"data/notes.txt is no file of the archive; move it"):
        sealed(place, key)
    assert snapshot(place) == before


def test_a_file_that_is_missing_is_not_sealed(place: Path, key: Key) -> None:
    lost = next((place / "data" / "bytes").rglob("*/*"))
    lost.unlink()
    with pytest.raises(IntegrityError, match=f"{lost.name} is missing; restore it"):
        sealed(place, key)
    with lost.open("wb") as out:
        out.write(b"half")
    with pytest.raises(IntegrityError, match="has 4 bytes, not 1; restore it"):
        sealed(place, key)


def test_where_no_archive_is_none_is_made(tmp_path: Path, key: Key) -> None:
    with pytest.raises(NotFoundError, match="no archive there"):
        seal(f"archive:{tmp_path}/nowhere", key)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_what_says_so_and_is_finished_by_the_next_call(
    place: Path, key: Key, tmp_path: Path
) -> None:
    """In the middle of the first seal, and of a second one after more was added."""
    sealed(place, key)
    write(place, runs("bc", loss=0.125))
    for start in ("first", "second"):
        before = Path(shutil.copytree(place, tmp_path / start))
        if start == "first":
            for path in files_of(before):
                if not path.startswith("data/") and path != "trackbridge.json":
                    (before / path).unlink()
        for moment in itertools.count():
            again = Path(shutil.copytree(before, tmp_path / "killed" / "archive"))
            try:
                with killed_at(moment):
                    sealed(again, key)
            except Killed:
                assert problems(again)
                if moment % 3 == 0:
                    write(again, runs("d"))
                sealed(again, key)
            else:
                assert moment > 10
                break
            assert problems(again) == {}
            assert is_bag(again)
            kept, found = snapshot(before), snapshot(again)
            assert start == "first" or all(
                data in (found[path], found.get(f"seals/0001/{path}"))
                for path, data in kept.items()
                if path in verify.read_manifest(kept["manifest-sha256.txt"])
            )
            shutil.rmtree(again.parent)
        shutil.rmtree(tmp_path / "killed")


def test_a_kill_while_exporting_into_a_sealed_archive_says_so(place: Path, key: Key) -> None:
    sealed(place, key)
    with killed_at(2), pytest.raises(Killed):
        write(place, runs("xyz"))
    found = problems(place)
    assert found and all("added since it was sealed" in what for what in found.values())
    write(place, runs("xyz"))
    sealed(place, key)
    assert problems(place) == {}


def test_a_seal_that_only_has_to_be_ended_is_ended(place: Path, key: Key) -> None:
    sealed(place, key)
    (place / "sealing.json").write_bytes(b'{"generation":1}')
    assert "sealing was interrupted" in problems(place)[""]
    assert not sealed(place, key).new
    assert problems(place) == {}


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff"])
def test_what_says_nothing_of_a_seal_is_taken_for_one_that_was_interrupted(
    place: Path, key: Key, data: bytes
) -> None:
    (place / "sealing.json").write_bytes(data)
    assert sealed(place, key).new
    assert problems(place) == {}


def test_what_is_sealed_stays_where_its_list_is_lost(place: Path, key: Key) -> None:
    sealed(place, key)
    (place / "manifest-sha256.txt").unlink()
    before = snapshot(place)
    for act in (lambda: write(place, runs("b", loss=0.125)), lambda: writer(place).sweep()):
        with pytest.raises(IntegrityError, match="is missing: it says what is sealed"):
            act()
    assert before.items() <= snapshot(place).items()


@pytest.mark.parametrize("path", ["README.txt", "data/dictionary.csv", "data/runs", "data/chunks"])
@pytest.mark.parametrize("grown", [False, True])
def test_what_was_sealed_and_is_gone_is_named_by_the_next_seal(
    place: Path, key: Key, path: str, grown: bool
) -> None:
    sealed(place, key)
    lost = place / path
    lost = min(lost.iterdir()) if lost.is_dir() else lost
    if grown:
        write(place, runs("c"))
    lost.unlink()
    with pytest.raises(IntegrityError, match="is missing; restore it"):
        sealed(place, key)


def test_a_changed_description_is_named_by_a_seal_that_has_nothing_to_do(
    place: Path, key: Key
) -> None:
    sealed(place, key)
    (place / "README.txt").write_text("all is well")
    with pytest.raises(IntegrityError, match=r"README.txt is not as it was sealed"):
        sealed(place, key)


def test_files_that_were_left_where_they_are_are_listed_to_be_fetched(
    place: Path, key: Key, tmp_path: Path
) -> None:
    light = tmp_path / "light archive"
    choice = FileChoice(REFERENCE)
    assert migrate(f"archive:{place}", f"archive:{light}", files=choice).verified
    sealed(light, key)
    lines = (light / "fetch.txt").read_text().splitlines()
    listed = {path: url for url, _, path in map(str.split, lines)}
    assert len(listed) == 2 and all(url.startswith("file:///") for url in listed.values())
    found = check(f"archive:{light}").report
    assert (found.problems, found.elsewhere) == ([], 2)
    assert said_by_the_copy(light)[0] == 0
    assert sealed(light, key).new is False
    write(light, runs("x"))
    sealed(light, key)
    assert problems(light) == {} and check(f"archive:{light}").report.elsewhere == 2
    bag = bagit.Bag(str(light))
    for url, _, path in bag.fetch_entries():
        (light / path).parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url) as there:
            (light / path).write_bytes(there.read())
    assert is_bag(light) and problems(light) == {}
    assert check(f"archive:{light}").report.elsewhere == 0
    assert sealed(light, key).new is False
    (light / min(listed)).write_bytes(b"other")
    assert set(problems(light)) == {min(listed)}
