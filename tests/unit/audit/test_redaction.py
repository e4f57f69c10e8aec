"""What must not leave does not, wherever it stands; everything else does, and a ledger tells."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.archive.archives import reader
from unit.audit import redacting
from unit.audit.redacting import SALT, SECRETS, TEXT, exported, left, memory, moved, planted
from unit.audit.sealed import is_bag, problems, sealed, snapshot

from trackbridge import migrate, verify
from trackbridge.adapter import FileRef, Query, RunInfo
from trackbridge.audit.keys import Key
from trackbridge.audit.redaction import job, tables
from trackbridge.audit.redaction.ledger import Ledger, Place
from trackbridge.audit.redaction.rules import Rule, Rules
from trackbridge.audit.redaction.scrub import Hit, Scrubber
from trackbridge.columns import batches
from trackbridge.errors import ConfigError, IntegrityError
from trackbridge.filing import REFERENCE, FileChoice
from trackbridge.registry import open_reader, open_writer
from trackbridge.schema import SHARED
from trackbridge.testing import samples
from trackbridge.testing.made import store

RULES = Rules((Rule("customer", "hash", regex=r"ACME-\d+"),))


def ledger(place: Path) -> list[dict[str, str]]:
    """All that the ledgers of an archive say."""
    found = []
    for path in sorted((place / "data" / "redactions").iterdir()):
        with path.open(newline="", encoding="utf-8") as file:
            found += csv.DictReader(file)
    return found


def rows(place: Path, table: str) -> list[dict[str, Any]]:
    read = reader(place)
    refs = [info.ref for info in read.list_runs(Query())]
    every = read.read_shared(Query()) if table in SHARED else read.read_runs(refs, [table])
    return [row for batch in every if batch.table == table for row in batch.data.to_pylist()]


def only(place: Path) -> RunInfo:
    (info,) = reader(place).list_runs(Query())
    return info


def test_no_secret_survives_in_any_text_of_any_table_or_file(tmp_path: Path, key: Key) -> None:
    run, place = planted(samples.everything()), tmp_path / "out"
    shared = redacting.planted_rows(samples.shared(run.key.project, "a", 1))
    source = memory([run])
    with open_writer(source).open([]) as sink:
        for table, there in shared.items():
            for batch in batches(table, there):
                sink.write(batch)
        sink.commit()
    migrate(source, f"archive:{tmp_path}/plain")
    seeded = {kind for kinds in left(tmp_path / "plain").values() for kind in kinds}
    assert seeded == SECRETS.keys()
    report = exported(source, place, RULES)
    assert report.verified, report.failures
    assert left(place) == {}
    sealed(place, key)
    assert left(place) == {}
    assert problems(place) == {} and is_bag(place)
    told = {row["table"] for row in ledger(place)}
    every = {**run.tables, **shared}
    planted_in = {table for table, there in every.items() if TEXT in str(there)}
    assert told >= planted_in | {"content", "files"}


def test_what_holds_no_secret_is_as_it_was(tmp_path: Path) -> None:
    run = samples.everything()
    run.tables["runs"][0] |= {"user": None, "host": None}
    source, place = memory([run]), tmp_path / "out"
    assert exported(source, place, Rules()).verified
    assert verify(source, f"archive:{place}").holds
    assert ledger(place) == []


def test_the_ledger_names_each_removal_and_gives_its_salted_hash(tmp_path: Path) -> None:
    run, place = planted(samples.simple("a")), tmp_path / "out"
    exported(memory([run]), place, RULES)
    told = ledger(place)
    for kind, secret in SECRETS.items():
        rule = "customer" if kind == "rule" else kind
        hashes = {row["sha256"] for row in told if row["rule"] == rule}
        assert SALT.digest(secret) in hashes, kind
    note = [r for r in told if r["table"] == "params" and r["name"].startswith("note clone with")]
    assert {row["column"] for row in note} == {"key", "value"}
    assert {row["project"] for row in told} == {only(place).ref.project}


def test_a_secret_that_was_printed_in_pieces_is_found(tmp_path: Path) -> None:
    run = samples.simple("a")
    pieces = [TEXT[i : i + 7] for i in range(0, len(TEXT), 7)]
    run.tables["logs"] = [
        {"stream": stream, "line": number, "text": piece}
        for number, (stream, piece) in enumerate(
            each for piece in pieces for each in (("stdout", piece), ("stderr", "| "))
        )
    ]
    run.tables["runs"][0] |= {"user": SECRETS["user"], "host": SECRETS["host"]}
    exported(memory([run]), tmp_path / "out", RULES)
    found = rows(tmp_path / "out", "logs")
    text = "".join(row["text"] for row in found if row["stream"] == "stdout")
    assert not any(secret in text for secret in SECRETS.values())
    assert text.startswith("clone with [credentials removed], ask email-")
    assert text.endswith("/home/[home removed]/data")
    assert len(found) == len(run.tables["logs"])


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 60))
@settings(max_examples=200)
def test_however_the_console_is_cut_up_it_reads_the_same(cuts: list[int], window: int) -> None:
    text = f"{TEXT}\n" * 3
    pieces, start = [], 0
    for cut in [*cuts, len(text)]:
        pieces.append(text[start : start + cut])
        start += cut
    scrubber = Scrubber(RULES, SALT, {SECRETS["user"]}, {SECRETS["host"]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "WINDOW", window * 10)
        patch.setattr(tables, "BEHIND", 200)
        passage = tables.Tables(scrubber).passage()
        made = [
            {"project": "p", "run_id": "r", "stream": "stdout", "line": n, "text": piece}
            for n, piece in enumerate(pieces)
        ]
        given_back = []
        for row in made:
            for batch in batches("logs", [row]):
                given_back += [r for b in passage.feed(batch) for r in b.data.to_pylist()]
        given_back += [row for batch in passage.finish() for row in batch.data.to_pylist()]
    assert [row["line"] for row in given_back] == [*range(len(pieces))]
    whole = scrubber.clean(text, tables.Tables(scrubber)._scope("logs", "text", None)).text
    assert "".join(row["text"] for row in given_back) == whole


def test_what_stands_for_json_is_json(tmp_path: Path) -> None:
    run = samples.simple("a")
    run.tables["series"] = [{"key": "t", "step": 0, "kind": "text", "value": '"hidden"'}]
    run.tables["artifacts"] = [
        {"collection": "c", "version": "v0", "aliases": '["hidden"]', "metadata": '{"a": "hidden"}'}
    ]
    named = [("series", "value"), ("artifacts", "aliases"), ("artifacts", "metadata")]
    rules = Rules(tuple(Rule("n", "mask", table=table, column=column) for table, column in named))
    exported(memory([run]), tmp_path, rules)
    found = [json.loads(row[c]) for t, c in named for row in rows(tmp_path, t)]
    assert found == ["[n removed]", ["[n removed]"], {"removed": "[n removed]"}]


@pytest.mark.parametrize("action", ["drop", "mask", "hash"])
def test_all_of_the_console_can_be_altered(action: str, tmp_path: Path) -> None:
    run = samples.simple("a")
    run.tables["logs"] = [{"stream": "stdout", "line": n, "text": "hidden thing"} for n in (0, 1)]
    rules = Rules((Rule("console", action, table="logs", column="text"),))
    exported(memory([run]), tmp_path, rules)
    assert having(tmp_path, "hidden thing") == [] and len(rows(tmp_path, "logs")) == 2
    assert {row["sha256"] for row in ledger(tmp_path)} == {SALT.digest("hidden thing")}


def test_dropped_metrics_params_and_files_are_gone_and_told(tmp_path: Path) -> None:
    run = samples.simple("a")
    run.tables["metrics"] += [{**p, "key": "secret loss"} for p in run.tables["metrics"]]
    run.add_file("", "raw/people.csv", b"a,b\n")
    rules = Rules(
        (
            Rule("no such metric", "drop", table="metrics", key="secret*"),
            Rule("no notes", "drop", table="params", key="note"),
            Rule("raw data", "drop", file="raw/*"),
        )
    )
    exported(memory([run]), tmp_path / "out", rules)
    assert {row["key"] for row in rows(tmp_path / "out", "metrics")} == {"loss"}
    assert rows(tmp_path / "out", "params") == []
    assert [row["path"] for row in rows(tmp_path / "out", "files")] == ["a.txt"]
    told = {row["rule"]: row for row in ledger(tmp_path / "out")}
    assert told["no such metric"]["count"] == "5"
    assert told["no notes"]["sha256"] == SALT.digest("loss is 0.5")
    assert told["raw data"]["sha256"] == SALT.digest(b"a,b\n")


def having(place: Path, word: str) -> list[str]:
    found = [p for p in place.rglob("*") if p.is_file()]
    return [
        path.relative_to(place).as_posix()
        for path in found
        if word.encode() in path.read_bytes()
        or (path.suffix == ".parquet" and word in redacting.parquet_text(path))
    ]


def test_the_ledger_does_not_tell_what_was_taken_out(tmp_path: Path) -> None:
    run = samples.simple("a")
    run.tables["runs"][0] |= {"name": "hidden thing", "user": "jdoesmith"}
    run.tables["alerts"] = [{"title": "hidden thing", "level": "INFO", "definition": "{}"}]
    run.tables["tags"] = [{"key": "hidden thing", "value": None}]
    run.tables["series"] = [{"key": "jdoesmith/t", "step": 0, "kind": "text", "value": '"x"'}]
    run.tables["inputs"] = [{"name": "set", "digest": "hidden thing"}]
    run.add_file("", "d/hidden thing.txt", b"x")
    for alerts in (Rule("t", "mask", table="alerts", column="title"), Rule("t", "drop", "alerts")):
        rules = Rules(
            (
                Rule("name", "drop", table="runs", column="name"),
                Rule("tags", "drop", table="tags"),
                Rule("series", "drop", table="series", key="*/t"),
                Rule("files", "mask", table="files", regex="hidden thing"),
                Rule("digest", "hash", table="inputs", column="digest", regex="hidden"),
                alerts,
            )
        )
        place = tmp_path / alerts.action
        exported(memory([run]), place, rules)
        assert having(place, "hidden thing") == having(place, "jdoesmith") == []
        told = {row["rule"]: row["sha256"] for row in ledger(place)}
        assert told["tags"] == told["name"] == SALT.digest("hidden thing")


@pytest.mark.parametrize(
    "rule",
    [
        Rule("n", "mask", table="params", column="key", regex="hidden"),
        Rule("n", "mask", table="params", key="hidden*", regex="hidden"),
        Rule("n", "mask", regex=r"hidden\.x"),
        Rule("n", "mask", regex=r"^hidden$"),
        Rule("n", "hash", table="params", column="key"),
        Rule("n", "drop", table="params", column="key"),
    ],
    ids=str,
)
def test_nested_keys_are_altered_with_their_path(rule: Rule, tmp_path: Path) -> None:
    run = samples.simple("a")
    run.tables["params"] = [
        {"key": f"{name}.x", "path": f'["{name}", "x"]', "value": "1", "type": "integer"}
        for name in ("hidden", "other")
    ]
    exported(memory([run]), tmp_path, Rules((rule,)))
    assert len({row["key"] for row in rows(tmp_path, "params")}) == 2
    texts = [f"{row['key']} {row['path']}" for row in rows(tmp_path, "params")]
    assert not any("hidden.x" in text or '"hidden", "x"' in text for text in texts)
    assert not any("hidden" in row["name"] for row in ledger(tmp_path))


def test_rules_about_files_mean_the_paths_of_the_source(tmp_path: Path) -> None:
    run = samples.simple("a")
    run.tables["runs"][0]["user"] = "jdoesmith"
    run.add_file("", "jdoesmith/x.csv", b"hidden thing\n")
    exported(memory([run]), tmp_path, Rules((Rule("raw", "drop", file="jdoesmith/*.csv"),)))
    assert having(tmp_path, "hidden thing") == []


@pytest.mark.parametrize("regex", ["of acme$", "^of", r"acme\b.*", "v0"])
@pytest.mark.parametrize("table", [None, "artifacts"])
def test_files_still_belong_to_their_artifacts(
    regex: str, table: str | None, tmp_path: Path
) -> None:
    run = samples.simple("a")
    run.tables["artifacts"] = [{"collection": "of acme", "version": "v0", "direction": "logged"}]
    run.add_file("of acme:v0", "w.txt", b"x")
    exported(memory([run]), tmp_path, Rules((Rule("n", "mask", table=table, regex=regex),)))
    (artifact,) = rows(tmp_path, "artifacts")
    owners = {row["owner"] for row in rows(tmp_path, "files")}
    assert owners == {"", f"{artifact['collection']}:{artifact['version']}"}


def test_names_stay_apart_and_what_refers_to_them_still_does(tmp_path: Path) -> None:
    run = samples.simple("a")
    mails = ["ann@corp.example", "bob@corp.example"]
    run.tables["params"] = [{"key": f"of {m}", "value": "1", "type": "integer"} for m in mails]
    run.add_file("", f"{mails[0]}.png", b"\x89PNG\0")
    run.tables["series"] = [
        {"key": "picture", "step": 0, "kind": "image", "value": "{}", "path": f"{mails[0]}.png"}
    ]
    rules = Rules(detectors=(("email", "mask"),))
    exported(memory([run]), tmp_path / "out", rules)
    params, (series,) = rows(tmp_path / "out", "params"), rows(tmp_path / "out", "series")
    assert len({row["key"] for row in params}) == 2
    assert {row["type"] for row in params} == {"integer"}
    picture = FileRef(only(tmp_path / "out").ref, "", series["path"])
    assert reader(tmp_path / "out").open_file(picture).read() == b"\x89PNG\0"


def test_the_same_export_again_gives_the_same_bytes_and_moves_nothing(tmp_path: Path) -> None:
    source = memory([planted(samples.simple(name)) for name in "ab"])
    places = tmp_path / "one", tmp_path / "two"
    for place in places:
        exported(source, place, RULES)
    before, other = (
        {p.relative_to(r): p.read_bytes() for p in r.rglob("*") if p.is_file()} for r in places
    )
    assert before == other
    again = exported(source, places[0], RULES)
    assert (again.skipped, again.copied) == (2, 0)
    assert {
        p.relative_to(places[0]): p.read_bytes() for p in places[0].rglob("*") if p.is_file()
    } == before


def test_an_archive_is_redacted_by_the_same_rules_and_salt_each_time(tmp_path: Path) -> None:
    source = memory([planted(samples.simple("a"))])
    exported(source, tmp_path / "out", Rules(detectors=(("email", "mask"),)))
    with pytest.raises(ConfigError, match="redacted by other rules"):
        exported(source, tmp_path / "out", RULES)


def test_somebody_who_comes_later_is_taken_out_of_what_is_there(tmp_path: Path) -> None:
    first, place = samples.simple("a"), tmp_path / "out"
    first.tables["tags"] = [{"key": "reviewed by", "value": "latecomer"}]
    source = memory([first])
    exported(source, place, RULES)
    later = samples.simple("b")
    later.tables["runs"][0]["user"] = "latecomer"
    store(open_writer(source), [later])
    report = exported(source, place, RULES)
    assert (report.updated, report.copied) == (1, 1)
    assert not any(b"latecomer" in p.read_bytes() for p in place.rglob("*") if p.is_file())
    (tag,) = rows(place, "tags")
    assert tag["value"].startswith("user-")


def test_names_of_accounts_are_found_without_their_domain(tmp_path: Path) -> None:
    runs = [samples.simple("a"), samples.simple("b")]
    for run, account in zip(runs, ("CORP\\winperson", "mailperson@corp.example")):
        run.tables["runs"][0]["user"] = account
        run.tables["tags"] = [{"key": "seen", "value": "winperson, mailperson of corp.example"}]
    exported(memory(runs), tmp_path / "out", Rules())
    for tag in rows(tmp_path / "out", "tags"):
        assert "person" not in tag["value"] and tag["value"].endswith(" of corp.example")


def test_a_project_that_would_be_called_otherwise_now_is_no_second_one(tmp_path: Path) -> None:
    source = memory([samples.simple("a", project="of latecomer")])
    exported(source, tmp_path / "out", RULES)
    later = samples.simple("b", project="of latecomer")
    later.tables["runs"][0]["user"] = "latecomer"
    store(open_writer(source), [later])
    with pytest.raises(ConfigError, match=r"'of latecomer' .* name a new archive"):
        exported(source, tmp_path / "out", RULES)


def test_redacted_records_and_others_do_not_mix(tmp_path: Path) -> None:
    source = memory([samples.simple("a")])
    migrate(source, f"archive:{tmp_path}/plain")
    with pytest.raises(ConfigError, match="redacted ones need a new archive"):
        exported(source, tmp_path / "plain", Rules())
    exported(source, tmp_path / "redacted", Rules())
    for target in (f"archive:{tmp_path}/redacted", str(tmp_path / "redacted")):
        with pytest.raises(ConfigError, match="holds redacted records"):
            migrate(source, target)
    migrate(source, f"archive:{tmp_path}/plain")


def test_what_changed_after_the_look_does_not_leave(tmp_path: Path) -> None:
    run = planted(samples.simple("a"))
    source = memory([run])
    found = job.look_through(source, RULES, SALT)
    run.tables["tags"] = [{"key": "by", "value": "new.person@corp.example"}]
    store(open_writer(source), [run])
    report = moved(source, tmp_path / "out", found)
    (failure,) = report.failures
    assert "has changed at the source since it was looked through" in failure.error
    assert not list(reader(tmp_path / "out").list_runs(Query()))


def test_a_file_that_changed_after_the_look_does_not_leave(tmp_path: Path) -> None:
    for name in ("train.py", "clean.bin"):
        run = planted(samples.simple("a"))
        source = memory([run])
        found = job.look_through(source, RULES, SALT)
        run.contents["", name] += b"more"
        run.tables["files"] = [
            {**row, "size": None, "sha256": None} if row["path"] == name else row
            for row in run.tables["files"]
        ]
        store(open_writer(source), [run])
        report = moved(source, tmp_path / name, found)
        assert ["has changed at the source" in each.error for each in report.failures] == [True]


def test_an_archive_is_redacted_into_a_new_one(tmp_path: Path) -> None:
    source = memory([planted(samples.everything())])
    migrate(source, f"archive:{tmp_path}/plain")
    before = snapshot(tmp_path / "plain")
    assert exported(f"archive:{tmp_path}/plain", tmp_path / "out", RULES).verified
    assert left(tmp_path / "out") == {}
    assert snapshot(tmp_path / "plain") == before


def test_runs_that_are_not_meant_are_neither_read_nor_moved(tmp_path: Path) -> None:
    runs = [planted(samples.simple(name)) for name in "ab"]
    runs[1].tables["tags"] = [{"key": "owner", "value": SECRETS["user"]}]
    source = memory(runs)
    (b,) = [i.ref for i in open_reader(source).list_runs(Query()) if i.key.run_id == "b"]
    for meant in ({"query": Query(run_ids=[b.run_id])}, {"where": "tags.owner = 'jdoesmith'"}):
        found = job.look_through(source, RULES, SALT, **meant)  # type: ignore[arg-type]
        assert len(found.survey.files) == len(runs[1].contents)
        place = tmp_path / next(iter(meant))
        assert moved(source, place, found).total == 1
        assert [info.key.run_id for info in reader(place).list_runs(Query())] == ["b"]


def test_rules_know_files_by_what_they_are_called_at_the_source(tmp_path: Path) -> None:
    run = planted(samples.simple("a"))
    for folder in ("drop", "mask"):
        run.add_file("", f"{folder} of {SECRETS['user']}/x.bin", b"\x00something")
    rules = Rules(
        (
            Rule("gone", "drop", file=f"drop of {SECRETS['user']}/*"),
            Rule("masked", "mask", file=f"mask of {SECRETS['user']}/*"),
        )
    )
    assert exported(memory([run]), tmp_path / "out", rules).verified
    (found,) = [row for row in rows(tmp_path / "out", "files") if row["path"].endswith("/x.bin")]
    file = FileRef(only(tmp_path / "out").ref, "", found["path"])
    there = reader(tmp_path / "out").open_file(file)
    assert there.read() == b"[masked removed]\n"


def test_shared_records_that_changed_after_the_look_do_not_leave(tmp_path: Path) -> None:
    run = samples.simple("a")
    source = memory([run])
    found = job.look_through(source, RULES, SALT)
    with open_writer(source).open([]) as sink:
        row = {"project": run.key.project, "notes": "by new@corp.example", "deleted": False}
        for batch in batches("projects", [row]):
            sink.write(batch)
        sink.commit()
    with pytest.raises(IntegrityError, match="have changed since they were looked through"):
        moved(source, tmp_path / "out", found)
    assert not any(b"corp.example" in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_addresses_of_files_that_stay_tell_no_names_either(tmp_path: Path) -> None:
    source, place = tmp_path / "home" / SECRETS["user"] / "plain", tmp_path / "out"
    migrate(memory([planted(samples.simple("a"))]), f"archive:{source}")
    found = job.look_through(f"archive:{source}", RULES, SALT, files=FileChoice(REFERENCE))
    job.begin(f"archive:{place}", found)
    report = migrate(
        f"archive:{source}",
        f"archive:{place}",
        found.query,
        files=FileChoice(REFERENCE),
        through=found.through,
        target_options=found.target_options,
    )
    assert report.verified, report.failures
    assert {row["reference"] is None for row in rows(place, "files")} == {False}
    assert left(place) == {}


def test_many_ledgers_are_added_up_in_the_time_of_their_entries() -> None:
    every, one = Ledger(), Ledger()
    for number in range(20_000):
        one = Ledger()
        one.add(Place("runs", "p", str(number)), [Hit("user", "mask", "0")])
        every += one
    assert len(every) == 20_000


def test_console_pieces_without_a_letter_do_not_pile_up() -> None:
    passage = tables.Tables(Scrubber(RULES, SALT)).passage()
    row = {"project": "p", "run_id": "r", "stream": "stdout", "text": ""}
    given_back = 0
    for batch in batches("logs", [{**row, "line": n} for n in range(70_000)]):
        given_back += sum(part.data.num_rows for part in passage.feed(batch))
    assert given_back > 0
    given_back += sum(part.data.num_rows for part in passage.finish())
    assert given_back == 70_000


def test_a_credential_that_is_known_from_one_place_is_taken_out_of_all(tmp_path: Path) -> None:
    run = samples.simple("a")
    run.tables["params"] += [{"key": "password", "value": "Sommer2024!", "type": "string"}]
    run.tables["logs"] = [{"stream": "stdout", "line": 0, "text": "trying Sommer2024! now"}]
    run.add_file("", "output.log", b"trying Sommer2024! now\n")
    run.add_file("", "state.bin", b"\x00\x01Sommer2024!\x00")
    assert exported(memory([run]), tmp_path / "out", Rules()).verified
    assert not any(
        b"Sommer2024" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )
    assert [row["text"] for row in rows(tmp_path / "out", "logs")] == [
        "trying [credentials removed] now"
    ]


def test_what_is_looked_through_as_often_as_may_be_is_moved_as_it_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "MOST_LOOKS", 1)
    run = samples.simple("a")
    run.tables["tags"] = [{"key": "password", "value": "Sommer2024!"}]
    run.tables["logs"] = [{"stream": "stdout", "line": 0, "text": "is Sommer2024!"}]
    report = exported(memory([run]), tmp_path / "out", Rules())
    assert report.verified, report.failures
