"""What adapters are tested with: the contract suite, and runs to try on them.

from trackbridge.testing import AdapterContract

class TestToy(AdapterContract):
    adapter = ADAPTER

    def seed(self, location, runs): ...    # with the store's own client
    def peek(self, location, run): ...     # with the store's own client
"""

try:
    import hypothesis  # noqa: F401
    import pytest
except ImportError as error:
    raise ImportError(
        f"trackbridge.testing needs {error.name}: pip install pytest hypothesis"
    ) from error

_PARTS = (
    "reading",
    "selecting",
    "splitting",
    "writing",
    "filing",
    "extending",
    "dividing",
    "roundtrip",
)
for _module in _PARTS:
    pytest.register_assert_rewrite(f"trackbridge.testing.{_module}")

from trackbridge.testing.base import ContractBase  # noqa: E402
from trackbridge.testing.contract import AdapterContract  # noqa: E402
from trackbridge.testing.made import MadeRun  # noqa: E402
from trackbridge.testing.plain import PlainPoint, PlainRun  # noqa: E402

__all__ = ["AdapterContract", "ContractBase", "MadeRun", "PlainPoint", "PlainRun"]
