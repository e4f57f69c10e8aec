"""The contract suite: what an adapter has to keep, as tests for its author to inherit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trackbridge.errors import UnsupportedError
from trackbridge.testing.dividing import DividingContract
from trackbridge.testing.extending import ExtendingContract
from trackbridge.testing.filing import FilingContract
from trackbridge.testing.reading import ReadingContract
from trackbridge.testing.roundtrip import RoundTripContract
from trackbridge.testing.selecting import SelectingContract
from trackbridge.testing.splitting import SplittingContract
from trackbridge.testing.writing import WritingContract

WRITING = (WritingContract, FilingContract, ExtendingContract, DividingContract, RoundTripContract)


class AdapterContract(
    ReadingContract,
    SelectingContract,
    SplittingContract,
    WritingContract,
    FilingContract,
    ExtendingContract,
    DividingContract,
    RoundTripContract,
):
    """Subclass it, set `adapter`, write `seed` and `peek`: see `ContractBase` for the rest.

    Its tests may not be overridden. In the suite of a read-only adapter every test that writes
    asserts that the adapter refuses to.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.writable:
            for part in WRITING:
                for name in vars(part):
                    if name.startswith("test_"):
                        setattr(cls, name, _refuses_to_write)


def _refuses_to_write(self: AdapterContract, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError):
        self.write(self.location(tmp_path))
