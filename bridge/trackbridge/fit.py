"""Fits rows into what a store can hold: columns, times, numbers. Pure functions."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.adapter import Capabilities, Names, Row
from trackbridge.columns import numpy_of
from trackbridge.fit_text import fit_name, fit_texts
from trackbridge.losses import Losses
from trackbridge.schema import DEFAULTS, NAMED_BY, SHARED, TABLES

Mask = npt.NDArray[np.bool_]
LABELS = ("project", "run_id")


class FittedPoints(NamedTuple):
    """Points as a store holds them, row by row beside the original ones."""

    data: pa.RecordBatch
    whole: Mask
    """Rows whose value, step or time the store cannot hold: the sidecar keeps them whole."""
    dropped: Mask
    """Those of them that the store does not get at all."""


def holds_everything(capabilities: Capabilities) -> bool:
    """Whether runs go into the store as they are, with no translation and no sidecar."""
    return capabilities == Capabilities.everything(
        parallel_writers=capabilities.parallel_writers,
        parallel_files=capabilities.parallel_files,
        items=capabilities.items,
    )


def fit_rows(table: str, rows: list[Row], caps: Capabilities, losses: Losses) -> list[Row]:
    """Rows of a small table as the store holds them; none if it does not hold the table."""
    held = caps.holds.get(table)
    if held is None:
        losses.add(f"{table} not shown", example(rows), len(rows))
        return []
    labels = () if table in SHARED else LABELS
    names = [name for name in TABLES[table].names if name not in labels]
    named = NAMED_BY.get(table, ())
    missing = [name for name in names if name not in held and name not in named]
    for column in missing:
        default = DEFAULTS.get((table, column))
        lost = [row for row in rows if row.get(column) not in (None, default)]
        losses.add(f"{table}.{column} not shown", example(lost), len(lost))
    fitted = []
    for row in rows:
        new = {name: row.get(name) for name in names}
        new.update((column, DEFAULTS.get((table, column))) for column in missing)
        fit_texts(table, new, caps, losses)
        fitted.append(new)
    return fitted


def fit_points(data: pa.RecordBatch, caps: Capabilities, losses: Losses) -> FittedPoints:
    """Points as the store holds them, aligned row by row with `data`."""
    held = caps.holds.get("metrics")
    if held is None:
        losses.add("metrics not shown", example(data.slice(0, 1).to_pylist()), data.num_rows)
        everything = np.ones(data.num_rows, np.bool_)
        return FittedPoints(data, everything, everything)
    columns = {name: data.column(name) for name in data.schema.names}
    limits = caps.names.get("metrics")
    if limits is not None:
        columns["key"] = _fit_keys(columns["key"], columns["system"], limits, losses)
    hidden = _hide_places(columns, [n for n in ("step", "time") if n not in held], losses)
    gaps = _fit_gaps(columns, [n for n in ("step", "time") if n in held], caps, losses)
    columns["time"] = _clip_time(columns["time"], caps.times, losses)
    columns["time"] = _fit_time(columns["time"], caps.time_unit_us, losses)
    columns["value"], changed, dropped = _fit_values(columns, caps, losses)
    if "row" not in held:
        columns["row"] = pa.nulls(data.num_rows, pa.int64())
    if "system" not in held:
        measured = np.array(columns["system"])
        losses.add(
            "system points shown as the run's own",
            _first_key(columns, measured),
            int(measured.sum()),
        )
        changed = changed | measured
        columns["system"] = pa.repeat(pa.scalar(False), data.num_rows)
    fitted = pa.RecordBatch.from_arrays(list(columns.values()), schema=TABLES["metrics"])
    return FittedPoints(fitted, changed | gaps | hidden, dropped)


def _fit_keys(
    keys: pa.DictionaryArray, system: pa.Array, limits: Names, losses: Losses
) -> pa.Array:
    """Keys as the store takes them; those of system metrics may have less room."""
    names = keys.dictionary.to_pylist()
    own = [fit_name(name, limits) for name in names]
    of_system = own
    if limits.length is not None and limits.before_system:
        shorter = replace(limits, length=limits.length - limits.before_system)
        of_system = [fit_name(name, shorter) for name in names]
    if own == of_system == names:
        return keys
    codes = numpy_of(keys.indices, np.int64)
    if of_system != own:
        codes = codes + len(names) * np.array(system).astype(np.int64)
    fitted = [*own, *of_system]
    for code in np.unique(codes).tolist():
        old, new = names[code % len(names)], fitted[code]
        if old != new:
            losses.add("metrics renamed", f"{old[:80]!r} -> {new[:80]!r}")
    texts = pa.array(fitted, pa.string()).dictionary_encode()  # two may have become one
    return pa.DictionaryArray.from_arrays(texts.indices.take(pa.array(codes)), texts.dictionary)


def _hide_places(columns: dict[str, pa.Array], names: list[str], losses: Losses) -> Mask:
    """Steps or times that the store has no place for; moves cannot bring them back."""
    hidden = np.zeros(len(columns["key"]), np.bool_)
    for name in names:
        valid = np.array(columns[name].is_valid())
        losses.add(f"metrics.{name} not shown", _first_key(columns, valid), int(valid.sum()))
        hidden |= valid
        columns[name] = pa.nulls(len(valid), columns[name].type)
    return hidden


def _fit_gaps(
    columns: dict[str, pa.Array], names: list[str], caps: Capabilities, losses: Losses
) -> Mask:
    gaps = np.zeros(len(columns["key"]), np.bool_)
    if caps.gaps and not caps.rows:  # a log call has a step and a time
        return gaps
    for name in names:
        if columns[name].null_count:
            gaps |= np.array(columns[name].is_null())
            kind = columns[name].type
            columns[name] = columns[name].fill_null(pa.scalar(0, pa.int64()).cast(kind))
    losses.add("points without step or time", "shown at 0", int(gaps.sum()))
    return gaps


def _fit_time(times: pa.Array, unit: int, losses: Losses) -> pa.Array:
    if unit == 1:
        return times
    ticks = times.cast(pa.int64())
    micros = numpy_of(ticks.fill_null(0), np.int64)
    rest = np.mod(micros, unit)
    finer = int(np.count_nonzero(rest))
    if not finer:
        return times
    losses.add("time of a point rounded down", f"to {unit} us", finer)
    floored = pa.array(micros - rest, mask=np.array(times.is_null()))
    return floored.cast(times.type)


def _clip_time(times: pa.Array, bounds: tuple[int, int] | None, losses: Losses) -> pa.Array:
    if bounds is None:
        return times
    ticks = times.cast(pa.int64())
    clipped = pc.max_element_wise(pc.min_element_wise(ticks, bounds[1]), bounds[0])
    clipped = pc.if_else(ticks.is_null(), ticks, clipped)
    beyond = pc.sum(pc.not_equal(ticks, clipped)).as_py() or 0
    losses.add("times out of range", "shown as the nearest one that is not", beyond)
    return clipped.cast(times.type) if beyond else times


def _fit_values(
    columns: dict[str, pa.Array], caps: Capabilities, losses: Losses
) -> tuple[pa.Array, Mask, Mask]:
    values = columns["value"]
    none = np.zeros(len(values), np.bool_)
    if caps.nan and caps.largest is None and caps.signed_zero:
        return values, none, none
    numbers = numpy_of(values, np.float64)
    zeros = none if caps.signed_zero else (numbers == 0) & np.signbit(numbers)
    losses.add("-0 shown as 0", _first_key(columns, zeros), int(zeros.sum()))
    nans = none if caps.nan else np.isnan(numbers)
    infinite = none if caps.largest is None else np.isinf(numbers)
    losses.add("NaN not shown", _first_key(columns, nans), int(nans.sum()))
    losses.add("infinity shown as a number", _first_key(columns, infinite), int(infinite.sum()))
    if infinite.any() or zeros.any():
        numbers[infinite] = np.copysign(caps.largest or 0.0, numbers[infinite])
        if not caps.signed_zero:
            numbers[numbers == 0] = 0.0  # also where the largest number is 0
        values = pa.array(numbers)
    return values, nans | infinite | zeros, nans


def _first_key(columns: dict[str, pa.Array], mask: Mask) -> str:
    if not mask.any():
        return ""
    return str(pc.filter(columns["key"], pa.array(mask))[0].as_py())


def example(rows: list[Row]) -> str:
    """The first of some rows that are lost, by its name; nothing where there are none."""
    if not rows:
        return ""
    row = rows[0]
    what = next((row[n] for n in ("key", "path", "name", "collection", "title") if row.get(n)), "")
    run = row.get("run_id")
    if run and what:
        return f"{run}: {what}"
    return str(what or run or row.get("project") or "")
