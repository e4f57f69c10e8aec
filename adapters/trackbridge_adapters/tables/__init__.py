"""The adapter of plain tables: CSV and JSON Lines, read and written.

Read are files of points, long or wide, as people and other tools write them (`reader`), with a
mapping of columns that is guessed or declared (`mapping`); written is a folder with one file for
each table of the run model (`stored`, `writer`), which is read back as what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from trackbridge_adapters.tables.reader import TablesReader
    from trackbridge_adapters.tables.stored import StoredReader
    from trackbridge_adapters.tables.writer import StoredWriter


class TablesAdapter:
    """Tables of one format; `name` is the format's, and the scheme of addresses."""

    options = ("columns",)
    exports = True

    def __init__(self, name: str) -> None:
        self.name = name

    def recognizes(self, location: str) -> bool:
        from trackbridge.errors import BridgeError
        from trackbridge_adapters.tables import place

        if "://" in location:
            return False
        try:
            return place.is_stored(location, self.name) or place.is_table(location, self.name)
        except (BridgeError, OSError):
            return False

    def suggests(self, location: str) -> bool:
        from trackbridge_adapters.tables import place

        return place.is_called_like_a_table(location, self.name)

    def reader(self, location: str, options: Mapping[str, str]) -> TablesReader | StoredReader:
        from trackbridge_adapters.tables import place
        from trackbridge_adapters.tables.reader import TablesReader
        from trackbridge_adapters.tables.stored import StoredReader

        columns = place.columns_option(self.name, location, options)
        if place.is_stored(location, self.name):
            place.refuse_columns(self.name, location, columns)
            return StoredReader(location, self.name)
        return TablesReader(place.find(location, self.name), location, self.name, columns)

    def writer(self, location: str, options: Mapping[str, str]) -> StoredWriter:
        from trackbridge_adapters.tables import place
        from trackbridge_adapters.tables.writer import StoredWriter

        place.check_target(location, self.name)
        place.columns_option(self.name, location, options)
        return StoredWriter(location, self.name)


class JsonLinesAdapter(TablesAdapter):
    """JSON Lines, which tell texts, numbers and truth values apart."""

    def write_table(self, table: pa.Table, path: Path) -> None:
        from trackbridge_adapters.tables.framed import write_table

        write_table(table, path)


CSV = TablesAdapter("csv")
JSONL = JsonLinesAdapter("jsonl")
