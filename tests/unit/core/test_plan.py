"""Runs are put together in chunks of bounded size, each run in one of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trackbridge.adapter import RunInfo, RunKey, RunRef
from trackbridge.plan import CHUNK_BYTES, CHUNK_POINTS, CHUNK_RUNS, Chunk, chunked

INFOS = st.lists(
    st.builds(
        lambda n, host, points, size: RunInfo(
            RunRef("p", f"{host}{n}"),
            RunKey("x", host, "p", f"run{n}"),
            f"f{n}",
            points=points,
            size=size,
        ),
        st.integers(0, 5),
        st.sampled_from(["a", "b"]),
        st.integers(0, CHUNK_POINTS + 5),
        st.integers(0, CHUNK_BYTES + 5),
    ),
    max_size=30,
    unique_by=lambda info: info.key,
)


def _info(number: int, points: int = 0) -> RunInfo:
    run_id = f"run{number}"
    return RunInfo(RunRef("p", run_id), RunKey("x", "", "p", run_id), "f", points=points)


@given(infos=INFOS)
def test_every_run_is_in_one_chunk_and_in_order(infos: list[RunInfo]) -> None:
    assert [info for chunk in chunked(infos) for info in chunk.runs] == infos


@given(infos=INFOS)
def test_chunks_are_bounded_unless_one_run_is_too_large(infos: list[RunInfo]) -> None:
    for chunk in chunked(infos):
        assert chunk.runs
        if len(chunk.runs) > 1:
            assert len(chunk.runs) <= CHUNK_RUNS
            assert chunk.points <= CHUNK_POINTS
            assert sum(info.size for info in chunk.runs) <= CHUNK_BYTES


@given(infos=INFOS)
def test_runs_of_equal_labels_never_share_a_chunk(infos: list[RunInfo]) -> None:
    for chunk in chunked(infos):
        labels = [(info.key.project, info.key.run_id) for info in chunk.runs]
        assert len(set(labels)) == len(labels)


def test_tiny_runs_are_moved_together() -> None:
    chunks = list(chunked(_info(n) for n in range(CHUNK_RUNS * 2 + 1)))
    assert [len(chunk.runs) for chunk in chunks] == [CHUNK_RUNS, CHUNK_RUNS, 1]


def test_a_chunk_is_named_by_its_runs_and_their_state() -> None:
    one = Chunk((_info(1), _info(2)))
    assert one.id == Chunk((_info(1), _info(2))).id
    assert len(one.id) == 16
    changed = Chunk((_info(1), RunInfo(_info(2).ref, _info(2).key, "g")))
    assert len({one.id, changed.id, Chunk((_info(2), _info(1))).id, Chunk((_info(1),)).id}) == 4


@given(count=st.integers(2, 9))
def test_halves_are_the_chunk(count: int) -> None:
    chunk = Chunk(tuple(_info(n, n) for n in range(count)))
    one, two = chunk.halves()
    assert one.runs + two.runs == chunk.runs
    assert one.runs
    assert two.runs


def test_no_runs_make_no_chunks() -> None:
    assert list(chunked([])) == []
