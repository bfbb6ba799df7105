// The report that verifiers and scripts make.
import { bytes } from './holdfast.js';

// A damaged snapshot can break a rule a million times. The first of each code are named, the rest is counted.
const NAMED_OF_A_CODE = 100;
const WEIGHT = { error: 0, warning: 1, info: 2 };

/** What a verifier answers. Never put a value into it: values are Secrets, and reports are kept, logged and sent. */
export class Report {
  /** One line that can stand alone: how it stands, and the first thing to look at. */
  summary = '';
  /** What is kept beside the backup and given back with the next one, for a plugin that remembers. */
  memo = '';
  #findings = [];
  #measurements = [];
  #seen = new Map();
  #undecided = false;

  #add(severity, code, key, message) {
    const of = `${severity} ${code}`;
    const seen = (this.#seen.get(of) ?? 0) + 1;
    this.#seen.set(of, seen);
    if (seen <= NAMED_OF_A_CODE) {
      this.#findings.push({ severity, code, message, key: key == null ? undefined : bytes(key).slice(), attributes: [] });
    }
  }

  /** Worth knowing. `code` is stable, and alerts go by it; `key` is what it is about, or null. */
  info(code, key, message) {
    this.#add('info', code, key, message);
  }

  /** Should be looked at; does not fail the verification. */
  warning(code, key, message) {
    this.#add('warning', code, key, message);
  }

  /** A reason to fail. */
  error(code, key, message) {
    this.#add('error', code, key, message);
  }

  /** Something could not be checked: without an error elsewhere the report is inconclusive. */
  undecided(code, key, message) {
    this.#undecided = true;
    this.#add('warning', code, key, message);
  }

  /** A number that becomes a metric; attributes tell several of one name apart. */
  measure(name, value, unit, attributes = {}) {
    this.#measurements.push({ name, value: Number(value), unit, attributes: Object.entries(attributes) });
  }

  /** How many findings of a code there were, named or not. */
  count(code) {
    return [...this.#seen].filter(([of]) => of.split(' ')[1] === code).reduce((sum, [, seen]) => sum + seen, 0);
  }

  get outcome() {
    if ([...this.#seen.keys()].some((of) => of.startsWith('error '))) return 'failed';
    return this.#undecided ? 'inconclusive' : 'passed';
  }

  /** As the contract has it: errors first, then how many are not named. */
  finish() {
    const findings = this.#findings.toSorted((a, b) => WEIGHT[a.severity] - WEIGHT[b.severity]);
    for (const [of, seen] of this.#seen) {
      if (seen <= NAMED_OF_A_CODE) continue;
      const [severity, code] = of.split(' ');
      const more = seen - NAMED_OF_A_CODE;
      const attributes = [['of', code], ['count', String(more)]];
      findings.push({ severity, code: 'more-findings', message: `${more} more of \`${code}\` are not listed`, key: undefined, attributes });
    }
    const attributes = this.memo === '' ? [] : [['memo', this.memo]];
    return { outcome: this.outcome, summary: this.summary, findings, measurements: this.#measurements, attributes };
  }
}
