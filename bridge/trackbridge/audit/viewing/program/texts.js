// How numbers, times and sizes are written.

const SEPARATED = new Intl.NumberFormat("en-US");

function count(number, one, many = `${one}s`) {
  return `${SEPARATED.format(number)} ${number === 1 ? one : many}`;
}

/** A number as people write it. */
function number(value) {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return SEPARATED.format(value);
  const size = Math.abs(value);
  if (size >= 1e6 || (size < 1e-3 && size > 0))
    return value
      .toExponential(4)
      .replace(/\.?0+e/, "e")
      .replace("e+", "e");
  return String(Number(value.toPrecision(6)));
}

/** A number for an axis: short. */
function brief(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3)
    return value.toExponential(1).replace(".0e", "e").replace("e+", "e");
  return size >= 100 ? SEPARATED.format(Math.round(value)) : String(Number(value.toPrecision(3)));
}

/** A time in UTC, to the second. */
function moment(millis) {
  if (millis === null || millis === undefined) return null;
  const time = new Date(millis);
  return Number.isNaN(time.getTime())
    ? "beyond all calendars"
    : time.toISOString().slice(0, 19).replace("T", " ");
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return null;
  if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48
    ? `${hours} h ${minutes % 60} min`
    : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function bytes(size) {
  if (size === null || size === undefined) return null;
  let amount = size;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (amount < 1024 || unit === "GiB")
      return `${unit === "B" ? amount : amount.toFixed(1)} ${unit}`;
    amount /= 1024;
  }
}

/** A value of a param or the like: JSON text, or plain text where its type says so. */
function valueText(row) {
  return row.value === undefined ? "null" : row.value;
}
