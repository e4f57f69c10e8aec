"""The Neptune adapter: what neptune-exporter wrote before the service closed, only read.

    data/<project>/<run>_part_<n>.parquet   attributes and points of a run
    files/<project>/...                     the files that it downloaded
    model_data/, model_files/               the same for registered models, by `export-models`

The layout and its history: decision 0041.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trackbridge.adapter import Writer
    from trackbridge.errors import UnsupportedError
    from trackbridge_adapters.neptune.reader import Export


class NeptuneAdapter:
    """A folder that neptune-exporter filled."""

    name = "neptune"

    def check(self, location: str) -> None:
        """`UnsupportedError`: nothing is brought into exports."""
        raise _no_target(location)

    def recognizes(self, location: str) -> bool:
        path = Path(location)
        with suppress(OSError):
            if path.is_dir():
                from trackbridge_adapters.neptune.layout import is_export

                return is_export(path)
        return False

    def suggests(self, location: str) -> bool:
        return False

    def reader(self, location: str, options: Mapping[str, str]) -> Export:
        from trackbridge_adapters.neptune.reader import Export

        return Export(location)

    def writer(self, location: str, options: Mapping[str, str]) -> Writer:
        raise _no_target(location)


def _no_target(location: str) -> UnsupportedError:
    from trackbridge.errors import UnsupportedError

    return UnsupportedError(
        f"neptune:{location}: exports of Neptune are only read; take an archive,"
        " such as archive:./out"
    )


ADAPTER = NeptuneAdapter()
"""Reads exports of Neptune."""
