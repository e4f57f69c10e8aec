"""What `show`, `doctor` and the progress bars say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from unit.core.samples import POOR, points, sample
from unit.core.stores import NOTHING_CHANGES, seed, stores

import trackbridge
from trackbridge import doctor
from trackbridge.doctor import examine
from trackbridge.errors import NotFoundError
from trackbridge.show import summarize

ROOT = Path(__file__).parents[3]


@pytest.fixture
def home() -> Iterator[str]:
    metrics = [
        *points("loss", 5)[::-1],
        *points("loss", 3, step=9, value=7.0),
        *points("loss", 2, system=True),
        *points("alone", 1, step=None),
    ]
    series = [{"key": "pic", "kind": "image"}, {"key": "pic", "kind": "image"}]
    with stores(NOTHING_CHANGES) as (name,):
        seed(name, [sample("run1", metrics=metrics, series=series), sample("run2", project="q")])
        yield name


def test_a_metric_is_shown_by_its_range_and_its_last_value(home: str) -> None:
    assert summarize(f"memory:{home}", "run1")["metrics"] == [
        ["alone", "1 point", "steps 0..0", "0"],
        ["loss", "8 points", "steps 0..9", "7"],
        ["loss (system)", "2 points", "steps 0..1", "0.125"],
    ]


def test_everything_else_is_counted_or_listed(home: str) -> None:
    shown = summarize(f"memory:{home}", "run1")
    assert shown["series"] == [["pic", "image", "2 points"]]
    assert shown["console"] == [["2%"]]
    assert ["label", ""] in shown["tags"]
    assert ["lr", "0.1", "float"] in shown["params"]
    assert ["", "far.bin", "9", "s3://bucket/far.bin"] in shown["files"]
    assert ["status", "finished"] in shown["run"]
    assert ["key", "x//p/run1"] in shown["run"]


def test_a_run_is_shown_as_it_was_where_it_was_born(home: str) -> None:
    with stores(POOR) as (away,):
        trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        here, there = (summarize(f"memory:{name}", "run1") for name in (home, away))
        assert len(here.pop("files")) == len(there.pop("files"))
        assert {title: sorted(rows) for title, rows in there.items()} == {
            title: sorted(rows) for title, rows in here.items()
        }


@pytest.mark.parametrize("name", ["run2", "x//q/run2", "q/x//q/run2"])
def test_a_run_is_found_by_each_of_its_names(home: str, name: str) -> None:
    assert ["key", "x//q/run2"] in summarize(f"memory:{home}", name)["run"]


def test_a_name_that_several_runs_have_asks_which_one_is_meant() -> None:
    with stores(NOTHING_CHANGES) as (home,):
        seed(home, [sample("run1", instance="a"), sample("run1", instance="b")])
        with pytest.raises(NotFoundError, match=r"several runs 'run1'.*p/x/a/p/run1, p/x/b/p/run1"):
            summarize(f"memory:{home}", "run1")


def test_doctor_checks_what_it_is_asked_to(home: str) -> None:
    findings = {finding.name: finding for finding in examine([f"memory:{home}", "memory:nothing"])}
    assert findings["python"].good
    assert findings["pyarrow"].good
    assert findings["adapter memory"].good
    assert findings[f"memory:{home}"].what == "2 runs can be listed"
    assert findings["memory:nothing"].good is False
    assert "does not exist" in findings["memory:nothing"].what


def test_doctor_tells_which_packages_stores_need_and_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = doctor.version

    def without(name: str) -> str:
        if name == "psycopg2-binary":
            raise PackageNotFoundError
        return known(name)

    monkeypatch.setattr("trackbridge.doctor.version", without)
    findings = {finding.name: finding for finding in examine([])}
    assert {"mlflow", "wandb", "adbc-driver-postgresql", "pymysql"} <= findings.keys()
    assert not {"pytest", "ruff", "trackbridge[all]"} & findings.keys()
    assert findings["psycopg2-binary"].good is None
    assert 'pip install "trackbridge[postgres]"' in findings["psycopg2-binary"].what


def test_doctor_names_an_adapter_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackbridge.doctor.targets", lambda: {"broken": "no.such:THING"})
    (finding,) = (f for f in examine([]) if f.name == "adapter broken")
    assert finding.good is False
    assert "no.such:THING" in finding.what


@pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")
def test_progress_is_shown_to_who_watches_and_leaves_results_alone(
    home: str, tmp_path: Path
) -> None:
    import fcntl
    import pty
    import struct
    import termios

    trackbridge.migrate(f"memory:{home}", f"archive:{tmp_path}/one")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    paths = os.pathsep.join([str(ROOT / "bridge"), str(ROOT / "adapters")])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "trackbridge", "migrate"),
            *(f"{tmp_path}/one", f"archive:{tmp_path}/two", "--json"),
        ],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=True,
    )
    os.close(theirs)
    seen = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "migrate" in seen
    assert "2/2 runs" in seen
    assert done.stdout.count(b"\n") == 1
