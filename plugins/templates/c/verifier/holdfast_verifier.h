/* A verifier: the snapshot that it looks into. `check.c` writes `hf_plugin` and `hf_verify`; everything else is here.
 *
 * A read that fails answers with nothing, ends every scan, and is remembered: whatever the report says, the agent is told that the
 * snapshot could not be read. So nothing has to be asked after each call.
 */
#ifndef HOLDFAST_VERIFIER_H
#define HOLDFAST_VERIFIER_H

#include "holdfast_report.h"
#include "holdfast_rows.h"

/* ---- the snapshot --------------------------------------------------------------------------------------------- */

/* Which rows. `(hf_query){0}` is every live key, ascending; every field that is set narrows it. The agent does all of this on the file:
 * ask narrowly. Values are only read when `columns` has them. */
typedef struct {
    hf_bytes prefix;
    /* Keys in [start, end). */
    hf_bytes start, end;
    hf_bytes key_contains, value_prefix;
    int64_t changed_after;
    bool descending;
    /* At most this many rows; 0 for all. */
    uint64_t limit;
    hf_columns columns;
} hf_query;

typedef struct {
    uint64_t keys, key_bytes, value_bytes;
} hf_totals;

typedef struct hf_snapshot hf_snapshot;

int64_t hf_revision(hf_snapshot *snapshot);
uint64_t hf_live_keys(hf_snapshot *snapshot);
/* A fact by name, e.g. `storage-version`; empty when it is not known. */
hf_bytes hf_fact(hf_snapshot *snapshot, const char *name);
/* One key; false when there is none. */
bool hf_get(hf_snapshot *snapshot, hf_bytes key, hf_row *row);
/* Sums made by the agent: no row crosses over. */
hf_totals hf_count(hf_snapshot *snapshot, const hf_query *query);
/* hf_rows *rows = hf_scan(snapshot, &query);
 * hf_row row;
 * while (hf_next(rows, &row)) … */
hf_rows *hf_scan(hf_snapshot *snapshot, const hf_query *query);
/* Has a read failed? */
bool hf_is_broken(const hf_snapshot *snapshot);

/* ---- what you write ------------------------------------------------------------------------------------------- */

/* Looks, and reports. In the context there is with `remembers` also `previous-backup`, `previous-memo`, `previous-unknown`. */
void hf_verify(hf_snapshot *snapshot, const hf_context *context, hf_bytes config, hf_report *report);

/* ---- what the agent and the tests make of it ------------------------------------------------------------------- */

/* Where it comes from. What returns bool answers false when the snapshot cannot be read, and has then called `hf_break`. */
struct hf_snapshot {
    hf_source source;
    int64_t (*revision)(hf_snapshot *);
    bool (*live_keys)(hf_snapshot *, uint64_t *);
    hf_bytes (*fact)(hf_snapshot *, const char *);
    bool (*get)(hf_snapshot *, hf_bytes key, bool *found, hf_row *);
    bool (*totals)(hf_snapshot *, const hf_query *, hf_totals *);
    bool (*open)(hf_snapshot *, const hf_query *, void **cursor);
};

#endif
