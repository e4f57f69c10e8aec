"""What experiments on a server have that is not moved over REST: counted, kind by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from trackbridge.errors import IntegrityError, NotFoundError
from trackbridge_adapters.mlflow.rest_server import (
    BrokenError,
    Json,
    LackingError,
    Server,
    each,
)

TRACES_PAGE = 100
Pages = Iterator[list[Json]]


def counts(server: Server, numbers: Sequence[str]) -> dict[str, Mapping[str, int]]:
    """How many of each kind the experiments have; what belongs to several is the first one's."""
    found: dict[str, Mapping[str, int]] = {}
    seen: set[str] = set()
    for number, listed in zip(numbers, each(lambda number: _listed(server, number), numbers)):
        some = Counter({kind: len(names - seen) for kind, names in listed.items()})
        seen.update(*(listed[kind] for kind in SHARED if kind in listed))
        found[number] = {kind: count for kind, count in some.items() if count}
    return found


def _listed(server: Server, number: str) -> dict[str, set[str]]:
    """Ids of everything that belongs to an experiment, by kind."""
    found = {}
    for kind, (pages, name) in KINDS.items():
        try:
            found[kind] = {str(row[name]) for page in pages(server, number) for row in page}
        except (LackingError, NotFoundError):  # unknown to the server
            continue
        except BrokenError:  # it may be what the server's store lacks
            found[f"{kind} that could not be counted"] = {f"{kind} of {number}"}
        except IntegrityError:  # as of a deleted experiment
            found[f"{kind} that the server would not list"] = {f"{kind} of {number}"}
    return found


def _traces(server: Server, number: str) -> Pages:
    named = {"experiment_ids": number, "max_results": TRACES_PAGE}
    return server.get_pages("mlflow/traces", "traces", **named)


def _datasets(server: Server, number: str) -> Pages:
    body = {"experiment_ids": [number]}
    return server.pages("/api/3.0/mlflow/datasets/search", body, "datasets")


def _scorers(server: Server, number: str) -> Pages:
    return server.get_pages("/api/3.0/mlflow/scorers/list", "scorers", experiment_id=number)


def _review_queues(server: Server, number: str) -> Pages:
    place = "/api/3.0/mlflow/review-queues/list"
    return server.get_pages(place, "review_queues", experiment_id=number)


def _issues(server: Server, number: str) -> Pages:
    return server.pages("/api/3.0/mlflow/issues/search", {"experiment_id": number}, "issues")


KINDS: dict[str, tuple[Callable[[Server, str], Pages], str]] = {
    "traces": (_traces, "request_id"),
    "evaluation datasets": (_datasets, "dataset_id"),
    "scorers": (_scorers, "scorer_name"),
    "review queues": (_review_queues, "queue_id"),
    "issues": (_issues, "issue_id"),
}
"""How each is listed, and what its rows are told apart by (server/handlers.py, 3.17).

Label schemas are not asked for: a server that lists them makes one (`_ensure_default_label_schema`,
sqlalchemy_store.py, 3.17), and a source is never written to.
"""
SHARED = ("evaluation datasets",)
"""What may belong to several experiments."""
