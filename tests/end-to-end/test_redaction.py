"""Redacted exports of real stores, by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import rich_store
from click.testing import CliRunner, Result
from unit.audit.redacting import parquet_text

from trackbridge.adapter import Query, Row
from trackbridge.audit.redaction.detect import COMMON, SHORTEST_WORD
from trackbridge.cli import main
from trackbridge.registry import open_reader

FIXTURES = Path(__file__).parents[2] / "fixtures"
WORDS = ("größe", "alice")
"""What the store has in names, tags, params, traces, prompts and files."""
RULES = """
rules:
  - {name: size, regex: '(?i)gr(ö|\\\\u00f6)(ß|\\\\u00df)e', action: mask}
  - {name: people, regex: '(?i)alice', action: pseudonymise}
"""


def rows_of(source: Path) -> list[Row]:
    reader = open_reader(str(source))
    refs = [info.ref for info in reader.list_runs(Query())]
    return [r for b in reader.read_runs(refs, ["runs"]) for r in b.data.to_pylist()]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def having(place: Path, *words: str) -> set[str]:
    """Files of an archive that have one of the words in them or in their names."""
    return {
        path.relative_to(place).as_posix()
        for path in place.rglob("*")
        if path.is_file() and any(word in f"{path.name} {_text(path)}".lower() for word in words)
    }


def _text(path: Path) -> str:
    text = path.read_bytes().decode("utf-8", "replace")
    return text + (parquet_text(path) if path.suffix == ".parquet" else "")


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rich")
    subprocess.run([sys.executable, rich_store.__file__, str(folder)], check=True, cwd=folder)
    return folder


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    return tmp_path / "rules.yaml"


def test_names_in_runs_models_prompts_traces_and_datasets_are_gone(
    rich: Path, rules: Path, tmp_path: Path
) -> None:
    source, place = f"mlflow:sqlite:///{rich}/mlflow.db", tmp_path / "out"
    assert run("export", source, str(tmp_path / "plain"), "--include-deleted").exit_code == 0
    assert len(having(tmp_path / "plain", *WORDS)) > 10
    call = ("export", source, str(place), "--include-deleted", "--redact", str(rules))
    said = run(*call, "--dry-run")
    assert said.exit_code == 0 and "size: " in said.stdout and not place.exists()
    assert not rules.with_name("rules.yaml.salt").exists()
    done = run(*call, "--workers", "2")
    assert done.exit_code == 0, done.output
    assert having(place, *WORDS) == set()
    again = run(*call)
    assert "0 copied, 0 updated" in again.stdout, again.output
    kinds = {path.name for path in (place / "data").iterdir()}
    assert {"traces", "evaluation_datasets", "models", "redactions"} <= kinds


def test_an_archive_is_redacted_by_its_command(rich: Path, rules: Path, tmp_path: Path) -> None:
    plain, place = tmp_path / "plain", tmp_path / "out"
    assert run("export", f"mlflow:sqlite:///{rich}/mlflow.db", str(plain)).exit_code == 0
    done = run("audit", "redact", str(plain), str(place), "--rules", str(rules))
    assert done.exit_code == 0, done.output
    assert having(place, *WORDS) == set()
    assert "rules.yaml.salt: a new salt" in done.stderr
    again = run("export", f"mlflow:sqlite:///{rich}/mlflow.db", str(place))
    assert again.exit_code == 2 and "holds redacted records" in again.stderr
    copied = run("export", str(place), str(tmp_path / "copy"))
    assert copied.exit_code == 0, copied.output
    before, after = (
        {path.name for path in (at / "data" / "redactions").iterdir()}
        for at in (place, tmp_path / "copy")
    )
    assert before == after
    mixed = run("export", f"mlflow:sqlite:///{rich}/mlflow.db", str(tmp_path / "copy"))
    assert mixed.exit_code == 2 and "holds redacted records" in mixed.stderr


def test_strict_lets_no_file_leave_that_nobody_can_look_into(
    rich: Path, rules: Path, tmp_path: Path
) -> None:
    source, place = f"mlflow:sqlite:///{rich}/mlflow.db", tmp_path / "out"
    call = ("export", source, str(place), "--redact", str(rules), "--strict")
    refused = run(*call)
    assert refused.exit_code == 2 and "cannot be looked into" in refused.stderr
    assert "samples" in refused.stderr and not place.exists()
    with rules.open("a", encoding="utf-8") as file:
        file.write("keep: ['*.png', '*.webp', '*.skops', '*.pkl']\n")
    kept = run(*call)
    assert kept.exit_code == 0, kept.output


def test_what_belongs_to_a_project_is_dropped_with_all_its_parts(
    rich: Path, tmp_path: Path
) -> None:
    rules, source = tmp_path / "rules.yaml", f"mlflow:sqlite:///{rich}/mlflow.db"
    rules.write_text(
        "rules: [{table: traces, action: drop}, {table: evaluation_datasets, action: drop}]"
    )
    done = run("export", source, str(tmp_path / "out"), "--redact", str(rules))
    assert done.exit_code == 0, done.output
    tables = {path.name for path in (tmp_path / "out" / "data").iterdir()}
    assert not tables & {"traces", "spans", "assessments", "evaluation_records"}
    (told,) = (tmp_path / "out" / "data" / "redactions").iterdir()
    assert "\ntraces," in told.read_text() and "\nspans," not in told.read_text()


def test_a_rule_that_finds_nothing_is_told(rich: Path, rules: Path, tmp_path: Path) -> None:
    with rules.open("a", encoding="utf-8") as file:
        file.write("  - {name: typo, table: params, key: pasword, action: drop}\n")
    source = f"mlflow:sqlite:///{rich}/mlflow.db"
    said = run("export", source, str(tmp_path / "o"), "--redact", str(rules), "--dry-run")
    assert "  typo: nothing that this rule is about\n" in said.stdout
    assert "size: nothing" not in said.stdout


def test_what_is_found_as_one_object(rich: Path, rules: Path, tmp_path: Path) -> None:
    source = f"mlflow:sqlite:///{rich}/mlflow.db"
    said = run("export", source, str(tmp_path / "o"), "--redact", str(rules), "--dry-run", "--json")
    found = json.loads(said.stdout)
    assert {each["rule"] for each in found["found"]} >= {"size", "people"}


@pytest.mark.parametrize(
    "store",
    [
        "genai-3.17/mlflow.db",
        "mlflow-1.30/mlruns",
        "mlflow-3.17/mlruns",
        "wandb-0.12",
        "wandb-0.31",
    ],
)
def test_stores_of_old_and_new_clients_leave_without_the_names_of_people(
    store: str, tmp_path: Path
) -> None:
    source, rules = FIXTURES / store, tmp_path / "rules.yaml"
    rules.touch()
    done = run("export", str(source), str(tmp_path / "out"), "--redact", str(rules))
    assert done.exit_code == 0, done.output
    people = {
        row["user"] for row in rows_of(source) if row["user"] and len(row["user"]) >= SHORTEST_WORD
    } - COMMON
    assert having(tmp_path / "out", *people) == set()


def test_a_source_that_is_not_there_leaves_no_salt(rules: Path, tmp_path: Path) -> None:
    done = run("export", str(tmp_path / "none.db"), str(tmp_path / "o"), "--redact", str(rules))
    assert done.exit_code == 2 and not rules.with_name("rules.yaml.salt").exists()
