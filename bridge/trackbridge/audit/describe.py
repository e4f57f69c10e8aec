"""What is put beside the records when they are sealed, so that anyone can read and check them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import pyarrow as pa

from trackbridge.adapter import Reader
from trackbridge.audit import crate
from trackbridge.audit.bag import Content, by_digest
from trackbridge.audit.redaction import ledger
from trackbridge.audit.viewing.files import PAGE

README, VERIFY = "README.txt", "verify.py"
DICTIONARY, CRATE = "data/dictionary.csv", f"data/{crate.DESCRIPTOR}"
DESCRIPTIONS = (README, VERIFY, DICTIONARY, CRATE)

TEXT = """\
Records of experiment tracking
==============================
This folder holds runs of machine-learning experiments as they were tracked: what each was given,
what it measured, what it made. It is a BagIt bag (RFC 8493), sealed so that any change shows.
Nothing of it needs the software that wrote it.

To check that it is as it was sealed (Python 3.8 or newer, no network):

    python verify.py --public-key KEY.pub

KEY.pub is the public key that you were given by whoever sealed it, by another way than this
folder. Without --public-key the check says which key made each seal, but not whose it is. If you
do not trust the copy of verify.py that lies here, take one from elsewhere: it is part of
Trackbridge, and the same in every archive.

What lies where:

    data/<table>/*.parquet    the tables; data/dictionary.csv says what each column means
    data/contents/*.parquet   which bytes each file of a run has
    data/bytes/<ab>/<sha256>  those bytes
    data/redactions/*.csv     if something was taken out before the records left: what, where, by
                              which rule, with a salted hash of it
    data/viewer/<number>/index.html   pages that show it all in a browser, if any were made
    data/ro-crate-metadata.json   each run with its program, user, times, inputs and outputs
    data/chunks/*.json        which runs each Parquet file holds; where a run is in several, the
                              one with the highest generation, then revision, counts
    manifest-sha256.txt       SHA-256 of everything below data/
    tagmanifest-sha256.txt    SHA-256 of everything else, the manifest included
    seals/<number>/           a seal: its envelope (DSSE, in-toto), public key, and what the next
                              generation had to replace

In Python, for instance:

    import pandas
    runs = pandas.read_parquet("data/runs")
    metrics = pandas.read_parquet("data/metrics")
"""


def describe(
    reader: Reader,
    tables: Mapping[str, pa.Schema],
    payload: Mapping[str, Content],
    scratch: Path,
) -> dict[str, Path]:
    """Descriptions of an archive, made in a scratch folder: where each is to lie, and where it is.

    The same records give the same bytes.
    """
    made = {path: scratch / path.rpartition("/")[2] for path in DESCRIPTIONS}
    made[README].write_text(TEXT, encoding="utf-8", newline="\n")
    checker = resources.files("trackbridge.audit").joinpath(VERIFY)
    made[VERIFY].write_bytes(checker.read_bytes())
    _write_dictionary(tables, made[DICTIONARY])
    there = {path.split("/")[1] for path in payload if path.endswith(".parquet")}
    folders = {f"{table}/": _doc(tables[table].metadata) for table in sorted(there)}
    folders[DICTIONARY.removeprefix("data/")] = "what each table and column means"
    pages = (path.removeprefix("data/") for path in payload if path.endswith(f"/{PAGE}"))
    folders |= dict.fromkeys(pages, "a page that shows the records in a browser")
    contents = {sha256: p.removeprefix("data/") for sha256, p in by_digest(payload).items()}
    crate.write(reader, folders, contents, made[CRATE])
    return made


def _write_dictionary(tables: Mapping[str, pa.Schema], to: Path) -> None:
    with to.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(("table", "column", "type", "meaning"))
        for table, schema in sorted(tables.items()):
            rows.writerow((table, "", "", _doc(schema.metadata)))
            for field in schema:
                rows.writerow((table, field.name, str(field.type), _doc(field.metadata)))
        rows.writerow(("redactions", "", "", "one row per thing that was taken out (CSV)"))
        for column, meaning in ledger.COLUMNS.items():
            rows.writerow(("redactions", column, "string", meaning))


def _doc(metadata: Mapping[bytes, bytes]) -> str:
    return metadata[b"doc"].decode()
