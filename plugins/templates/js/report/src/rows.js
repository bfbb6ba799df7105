// Rows as they cross over, in columns, made rows again.

// Rows and bytes asked for at once: more make a row no cheaper, and one value can have 1.5 MiB.
const BATCH_ROWS = 256;
const BATCH_BYTES = 1 << 20;

/** The rows of a cursor, which is given back at the end. */
export function* walk(cursor) {
  try {
    for (;;) {
      const batch = cursor.next(BATCH_ROWS, BATCH_BYTES);
      const count = Math.max(batch.keyEnds.length, batch.valueEnds.length, batch.modRevisions.length);
      if (count === 0) return;
      for (let index = 0; index < count; index += 1) yield new Row(batch, index);
    }
  } finally {
    cursor[Symbol.dispose]?.();
  }
}

/** One live key. What the columns left out is empty, or undefined. */
class Row {
  #batch;
  #index;

  constructor(batch, index) {
    this.#batch = batch;
    this.#index = index;
  }

  #slice(column, ends) {
    return column.subarray(this.#index === 0 ? 0 : ends[this.#index - 1], ends[this.#index] ?? 0);
  }

  get key() {
    return this.#slice(this.#batch.keys, this.#batch.keyEnds);
  }

  get value() {
    return this.#slice(this.#batch.values, this.#batch.valueEnds);
  }

  get createRevision() {
    return this.#batch.createRevisions[this.#index];
  }

  get modRevision() {
    return this.#batch.modRevisions[this.#index];
  }

  get version() {
    return this.#batch.versions[this.#index];
  }

  get lease() {
    return this.#batch.leases[this.#index];
  }
}
