"""The adapter of plain tables: CSV and JSON Lines, read and written.

Files of points, long or wide, as people and other tools write them (`reader`), with a mapping of
columns that is guessed or declared (`mapping`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trackbridge.adapter import Writer
    from trackbridge_adapters.tables.reader import TablesReader


class TablesAdapter:
    """Tables of one format; `name` is the format's, and the scheme of addresses."""

    options = ("columns",)

    def __init__(self, name: str) -> None:
        self.name = name

    def recognizes(self, location: str) -> bool:
        from trackbridge.errors import BridgeError
        from trackbridge_adapters.tables import place

        if "://" in location:
            return False
        try:
            return place.is_table(location, self.name)
        except (BridgeError, OSError):
            return False

    def suggests(self, location: str) -> bool:
        return False

    def reader(self, location: str, options: Mapping[str, str]) -> TablesReader:
        from trackbridge_adapters.tables import place
        from trackbridge_adapters.tables.reader import TablesReader

        columns = place.columns_option(self.name, location, options)
        return TablesReader(place.find(location, self.name), location, self.name, columns)

    def writer(self, location: str, options: Mapping[str, str]) -> Writer:
        from trackbridge.errors import UnsupportedError

        raise UnsupportedError(
            f"{self.name}:{location}: tables are read only; write to archive: or another store"
        )


CSV = TablesAdapter("csv")
JSONL = TablesAdapter("jsonl")
