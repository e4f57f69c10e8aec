"""Where a run is in a database, and what it says of the same run in other stores."""

from __future__ import annotations

from collections.abc import Sequence

from trackbridge.adapter import Row, RunKey, RunRef
from trackbridge.errors import NotFoundError
from trackbridge.optional import Twin
from trackbridge_adapters.mlflow.entities import KEY_TAG, TWINS_TAG, key_text, twins_text
from trackbridge_adapters.mlflow.session import IN, Session, Store, Transaction

WHERE = 'WHERE run_uuid = ? AND "key" = ?'


def check(session: Session, ref: RunRef, key: RunKey) -> None:
    """`NotFoundError` where no such run was brought there."""
    found = session.select("tags", ["value"], WHERE, [ref.run_id, KEY_TAG])
    if found != [(key_text(key),)]:
        raise NotFoundError(f"{session.name}: no run {ref.run_id} that was brought there")


def link(store: Store, ref: RunRef, key: RunKey, twins: Sequence[Twin]) -> None:
    told = twins_text(twins)
    with store.session() as session:  # in most cases nothing has to be written
        check(session, ref, key)
        found = session.select("tags", ["value"], WHERE, [ref.run_id, TWINS_TAG])
    if found == ([(told,)] if told else []):
        return
    transaction = store.transaction()
    try:
        check(transaction, ref, key)
        transaction.execute(f"DELETE FROM tags {WHERE}", [ref.run_id, TWINS_TAG])
        if told:
            row = {"key": TWINS_TAG, "value": told, "run_uuid": ref.run_id}
            transaction.insert("tags", [row])
        transaction.commit()
    finally:
        transaction.close()


def kept(transaction: Transaction, ids: str) -> list[Row]:
    """Rows of `tags` that name the twins of some runs (a JSON list of their ids)."""
    columns = ("key", "value", "run_uuid")
    rest = f'WHERE "key" = ? AND run_uuid {IN}'
    rows = transaction.select("tags", columns, rest, [TWINS_TAG, ids])
    return [dict(zip(columns, row)) for row in rows]
