"""Writes the pages of the manual that are made from the code: `python docs/generate.py`."""

from __future__ import annotations

from pathlib import Path

from trackbridge.schema import EVERY_TABLE, ITEM_TABLES, LOCAL, SHARED, STREAMS, VERSION

PAGES = Path(__file__).parent


def run_model() -> str:
    """The page that describes every table and column of the run model."""
    lines = [
        "# The run model",
        f"Version {VERSION}. Every store is read into these tables and written from them. This "
        "page is made from `trackbridge/schema.py` by `docs/generate.py`.",
        "",
        "Columns have one type. Times are in UTC with microseconds. Values of any form are plain "
        "text where `type` is `string`, JSON text otherwise. Columns marked *local* are true only "
        "of the store that they were read from; no comparison covers them.",
        "",
        "Items are what belongs to a project and not to a run, and of which there may be many: "
        "traces, evaluation datasets, scorers, logged models whose run is not there.",
    ]
    for name, schema in EVERY_TABLE.items():
        kind = "shared" if name in SHARED else "stream" if name in STREAMS else "per run"
        kind = "of items" if name in ITEM_TABLES else kind
        lines += ["", f"## {name}", f"{schema.metadata[b'doc'].decode()} ({kind})", ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        for field in schema:
            local = " *(local)*" if (name, field.name) in LOCAL else ""
            meaning = field.metadata[b"doc"].decode()
            lines.append(f"| {field.name} | {_type(field.type)} | {meaning}{local} |")
    return "\n".join(lines) + "\n"


def _type(kind: object) -> str:
    text = str(kind)
    return "string" if text.startswith("dictionary") else text


if __name__ == "__main__":
    (PAGES / "run-model.md").write_text(run_model(), encoding="utf-8")
