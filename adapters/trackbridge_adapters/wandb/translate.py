"""How a run of any origin is shown in a run folder: as W&B's users would have logged it."""

from __future__ import annotations

import binascii
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from trackbridge.adapter import ORIGIN, Names, Presentation, Row, RunKey, RunRef
from trackbridge.fit_text import fit_name
from trackbridge_adapters.wandb import artifacts, encode, jsontext, tables
from trackbridge_adapters.wandb.facts import INTERNAL, Facts
from trackbridge_adapters.wandb.kinds import kind_of
from trackbridge_adapters.wandb.secondary import METADATA

NAME = Names(length=128, alphabet=r"A-Za-z0-9_.\-")
"""Of artifacts and their types, as the client checks them (wandb 0.31)."""
LABEL_LENGTH = 64
"""Most characters of a run's label (documented; the server checks it)."""
MODEL_FILE = "MLmodel"
"""Marks a folder as a model that `mlflow.pyfunc.load_model` can load."""
STATUS = {"finished": "finished", "failed": "failed", "killed": "failed", None: "finished"}
"""What an exit record can say; a run that has not ended has none, and is read as crashed."""
TRUTH = {"True": "true", "False": "false", "true": "true", "false": "false"}
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
Place = tuple[str, str]


def present(key: RunKey, ref: RunRef, given: Mapping[str, list[Row]]) -> Presentation:
    """Gives the rows the form that W&B has for them, then reads what would be written of it."""
    shown = Presentation(dict(given))
    for table in tables.SMALL:
        shown.tables.setdefault(table, [])
    [row] = shown.tables["runs"]
    shown.tables["runs"] = [_run_row(key, row)]
    if key.kind != "wandb":
        _show_params(key, shown)
        _show_files(key, shown)
        _show_inputs(key, shown)
        _show_metadata(shown)
    _order_versions(key, shown)
    shown.tables["series"] = list(_series(given.get("series", ())))
    shown.tables.update(read_back(key, ref, shown.tables))
    return shown


def read_back(key: RunKey, ref: RunRef, given: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """The small tables that the reader finds in a run folder that was written from these."""
    facts = Facts()
    owners = defaultdict(list)
    for row in given["files"]:
        owners[row.get("owner") or ""].append(row)
    records = [
        encode.artifact(key, ref, row, map(encode.entry_of, owners[_owner(row)]), "")
        for row in given["artifacts"]
    ]
    for record in [*encode.opening(key, ref, given, flat=False), *encode.closing(given, records)]:
        facts.apply(record.WhichOneof("record_type"), record)
    found = artifacts.numbered(facts.artifacts)
    native = tables.small_tables(facts, found)
    native["files"] = [_own_file(row) for row in owners.pop("", ())]
    hashes = {(o, row["path"]): row.get("sha256") for o, rows in owners.items() for row in rows}
    for row in tables.file_rows(found):
        native["files"].append({**row, "sha256": hashes[row["owner"], row["path"]]})
    return native


def _own_file(row: Row) -> Row:
    return {"owner": "", **{name: row.get(name) for name in ("path", "size", "sha256")}}


def _owner(row: Row) -> str:
    return f"{row['collection']}:{row['version']}"


def _run_row(key: RunKey, row: Row) -> Row:
    """Status, end, group and extra fields as a run record and an exit record hold them."""
    status = STATUS.get(row.get("status"), "crashed")
    extra = _sane(encode.extra_of(row)) if key.kind == "wandb" else {}
    if status == "failed":
        extra["exit_code"] = encode.exit_code(status, encode.extra_of(row))
    new = {**row, "status": status, "extra": tables.compact(extra)}
    if row.get("parent_run_id") and not row.get("group"):
        new["group"] = row["parent_run_id"]
        new["job_type"] = row.get("job_type") or "child"
    return new


def _sane(extra: dict[str, Any]) -> dict[str, Any]:
    """The extra fields that a record takes: those of another reader may have other types."""
    kept = {}
    for name, value in extra.items():
        row = {"extra": json.dumps({name: value}), "status": "crashed"}
        try:
            list(encode.opening(RunKey("", "", "", ""), RunRef("", ""), {"runs": [row]}, flat=True))
            list(encode.closing({"runs": [row]}, ()))
        except (TypeError, ValueError, KeyError, AttributeError, DecodeError, binascii.Error):
            continue
        except json_format.ParseError:
            continue
        kept[name] = value
    return kept


def _show_params(key: RunKey, shown: Presentation) -> None:
    """Texts that are numbers become numbers; tags with a value become entries and labels.

    That a run was deleted, for which W&B's own files have no place, is a label too.
    """
    entries: list[Row] = []
    labels = ["deleted" for row in shown.tables["runs"] if row.get("deleted")]
    for row in shown.tables["tags"]:
        name, value = row["key"] or "", row.get("value")
        if value is None:
            labels.append(name)
            continue
        path = [key.kind, "tags", name]
        entries.append({"path": json.dumps(path), "value": value, "type": "string"})
        if not name.startswith(f"{key.kind}."):
            labels.append(f"{name}:{value}")
    fitting = (label for label in labels if 0 < len(label) <= LABEL_LENGTH)
    shown.tables["tags"] = [{"key": label} for label in dict.fromkeys(fitting)]
    params = map(_typed, shown.tables["params"])
    shown.tables["params"] = [*entries, *(row for row in params if _top(row) not in _OURS)]
    shown.tables["summary"] = [r for r in shown.tables["summary"] if _top(r) not in _OURS]


_OURS = (ORIGIN, INTERNAL)


def _top(row: Row) -> str:
    """The outermost key of a row of `params` or `summary`."""
    return str(json.loads(row["path"])[0] if row.get("path") else row["key"])


def _typed(row: Row) -> Row:
    """A text that is exactly a number or truth value, as one."""
    text = row.get("value")
    if row.get("type") not in (None, "string") or text is None:
        return row
    if text in TRUTH:
        return {**row, "type": "boolean", "value": TRUTH[text]}
    if len(text) < 400 and _NUMBER.fullmatch(text):
        kind, value = jsontext.leaf(text)
        return {**row, "type": kind, "value": value}
    return row


def _show_files(key: RunKey, shown: Presentation) -> None:
    """Files of the run itself go into artifacts, but for those that a series shows."""
    media = {row["path"] for row in shown.tables.get("series", ()) if row.get("path")}
    own = [row for row in shown.tables["files"] if not row.get("owner")]
    moved = [row for row in own if row["path"] not in media]
    models = _model_folders(row["path"] for row in moved)
    stem = f"run-{key.run_id}"
    rows = [row for row in shown.tables["files"] if row.get("owner") or row["path"] in media]
    for row in moved:
        path = row["path"]
        model = next((folder for folder in models if _is_below(path, folder)), None)
        if model is None:
            name, kind, inner = f"{stem}-{key.kind}-artifacts", f"{key.kind}-artifacts", path
        else:
            name, kind, inner = (
                f"{stem}-{model or 'model'}",
                "model",
                path[len(model) :].lstrip("/"),
            )
        collection = fit_name(name, NAME)
        _add_version(shown, collection, kind)
        shown.files[row.get("owner") or "", path] = (f"{collection}:v0", inner)
        rows.append({**row, "owner": f"{collection}:v0", "path": inner, "extra": None})
    shown.tables["files"] = rows


def _model_folders(paths: Iterable[str]) -> list[str]:
    """The outermost folders with a model file, '' for the root."""
    found = {p.rpartition("/")[0] for p in paths if p.rpartition("/")[2] == MODEL_FILE}
    return sorted(f for f in found if not any(_is_below(f, g) for g in found if g != f))


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(folder + "/")


def _add_version(shown: Presentation, collection: str, kind: str, **columns: Any) -> None:
    rows = shown.tables["artifacts"]
    if not any(row["collection"] == collection for row in rows):
        version = {"collection": collection, "kind": kind, "version": "v0"}
        shown.tables["artifacts"] = [
            *rows,
            {**version, "direction": "logged", "aliases": '["latest"]', **columns},
        ]


def _show_inputs(key: RunKey, shown: Presentation) -> None:
    """Data sets become artifacts that the run used: what is known of them, without their bytes."""
    for row in shown.tables["inputs"]:
        known = {name: row.get(name) for name in ("digest", "kind", "source", "context")}
        known |= {name: _loaded(row.get(name)) for name in ("schema", "profile")}
        name = fit_name(f"{row.get('name') or 'dataset'}", NAME)
        metadata = json.dumps({n: v for n, v in known.items() if v is not None}, sort_keys=True)
        _add_version(shown, name, "dataset", direction="used", metadata=metadata)
    shown.tables["inputs"] = []


def _loaded(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def _show_metadata(shown: Presentation) -> None:
    """The file that W&B's pages describe a run's machine and program by."""
    [row] = shown.tables["runs"]
    columns = {"host": "host", "username": "user", "program": "program", "python": "python"}
    content: dict[str, Any] = {n: row[c] for n, c in columns.items() if row.get(c)}
    git = {"remote": row.get("git_remote"), "commit": row.get("git_commit")}
    if any(git.values()):
        content["git"] = {name: value for name, value in git.items() if value}
    if content:
        shown.contents["", METADATA] = json.dumps(content, sort_keys=True).encode()


def _order_versions(key: RunKey, shown: Presentation) -> None:
    """Versions are counted in the run, from v0; every owner of files is one."""
    known = {_owner(row) for row in shown.tables["artifacts"]}
    missing = {row["owner"] for row in shown.tables["files"] if row.get("owner")} - known
    rows = list(shown.tables["artifacts"])
    for owner in sorted(missing):
        collection, _, version = owner.rpartition(":")
        rows.append(
            {"collection": collection or version, "version": version, "direction": "logged"}
        )
        rows[-1]["kind"] = f"{key.kind}-artifacts"
    rows.sort(key=lambda row: (row["collection"] or "", _ordinal(row.get("version"))))
    counts: dict[str, int] = defaultdict(int)
    owners: dict[str, str] = {}
    for index, row in enumerate(rows):
        collection = row["collection"] or ""
        if key.kind != "wandb":
            row = {**row, "kind": row.get("kind") or "artifact"}
            collection = fit_name(_typed_name(key, collection, row["kind"]), NAME)
        version = f"v{counts[collection]}"
        counts[collection] += 1
        owners[_owner(row)] = f"{collection}:{version}"
        rows[index] = {**row, "collection": collection, "version": version}
        if key.kind != "wandb":  # whatever they are, they are not of W&B's making
            rows[index].update(digest=None, extra=None)
    shown.tables["artifacts"] = rows
    _rename_owners(shown, owners)


def _typed_name(key: RunKey, name: str, kind: str) -> str:
    """A collection of a project has one type: elsewhere one name may be that of several kinds."""
    own = kind == "dataset" or name.startswith(f"run-{key.run_id}")
    return name if own else f"{name}-{kind}"


def _ordinal(version: str | None) -> tuple[int, str]:
    digits = (version or "").removeprefix("v")
    return (int(digits) if digits.isdecimal() else -1, version or "")


def _rename_owners(shown: Presentation, owners: Mapping[str, str]) -> None:
    if all(old == new for old, new in owners.items()):
        return
    origins = {there: here for here, there in shown.files.items()}
    rows = []
    for row in shown.tables["files"]:
        old = (row.get("owner") or "", row["path"])
        new = (owners.get(old[0], old[0]), old[1])
        rows.append({**row, "owner": new[0]})
        if new != old:
            shown.files[origins.get(old, old)] = new
    shown.tables["files"] = rows


def _series(rows: Iterable[Row]) -> Iterator[Row]:
    """Points that are no numbers, as values that are read as what they are."""
    for row in rows:
        text = _value(row)
        if text is not None:
            kind, path = kind_of(text)
            yield {**row, "value": text, "kind": kind, "path": path}


MEDIA = {
    "image": "image-file",
    "audio": "audio-file",
    "video": "video-file",
    "table": "table-file",
    "html": "html-file",
    "plot": "plotly-file",
}
"""Kind of `series` -> `_type` of a value whose content is a file."""


def _value(row: Row) -> str | None:
    """JSON text for a point; None where it would be read as a plain number."""
    text, kind = row.get("value"), row.get("kind")
    if text is None:
        if kind not in MEDIA or not row.get("path"):
            return None
        return jsontext.quote_object({"_type": MEDIA[kind], "path": row["path"]})
    try:
        node = jsontext.parse(text)
    except ValueError:
        return jsontext.quote(text)
    if isinstance(node, dict) and kind_of(text)[0] is None:
        return jsontext.dump({**node, "_type": jsontext.quote(str(kind))})
    return text if kind_of(text)[0] else None
