"""Runs of any kind go to a server and come back whole, many at once."""

from __future__ import annotations

import any_runs

from trackbridge.testing.roundtrip import RoundTripContract
from trackbridge_adapters.mlflow import ADAPTER

EXAMPLES = 20


class Trip(RoundTripContract):
    """The part of the contract that is used here."""

    adapter = ADAPTER


def test_any_runs_come_back_whole(proxied: str) -> None:
    Trip().check_whole(proxied, any_runs.made(EXAMPLES))
