// Places along an axis.

/** Maps values to places along an axis, and back. */
class Scale {
  constructor(low, high, start, stop, log = false) {
    Object.assign(this, { low, high, start, stop, log });
    const [from, to] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
    this.from = from;
    this.span = to - from;
  }

  at(value) {
    const place = this.log ? Math.log10(value) : value;
    const share = this.span > 0 ? (place - this.from) / this.span : 0.5;
    return this.start + share * (this.stop - this.start);
  }

  back(place) {
    const value = this.from + ((place - this.start) / (this.stop - this.start)) * this.span;
    return this.log ? 10 ** value : value;
  }

  /** Round values within, few enough to be told apart. */
  ticks(most) {
    if (this.log && this.span >= 1) {
      const every = Math.ceil(this.span / most);
      const first = Math.ceil(this.from);
      const powers = Array.from(
        { length: Math.floor(this.from + this.span) - first + 1 },
        (_, n) => first + n,
      );
      return powers.filter((power) => power % every === 0).map((power) => 10 ** power);
    }
    const span = this.high - this.low;
    if (!(span > 0)) return [this.low];
    const rough = span / most;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5].map((by) => by * unit).find((by) => by >= rough) || 10 * unit;
    const first = Math.ceil(this.low / step - 1e-9);
    const last = Math.floor(this.high / step + 1e-9);
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, n) => step * (first + n));
  }
}
