/* A verifier: the snapshot that it looks into. `check.c` writes `hf_plugin` and `hf_verify`; everything else is here.
 *
 * A read that fails answers with nothing, ends every scan, and is remembered: whatever the report says, the agent is told that the
 * snapshot could not be read. So nothing has to be asked after each call.
 */
#ifndef HOLDFAST_VERIFIER_H
#define HOLDFAST_VERIFIER_H

#include "holdfast_report.h"

/* ---- the snapshot --------------------------------------------------------------------------------------------- */

typedef enum { HF_ALL_COLUMNS, HF_KEYS, HF_KEYS_AND_VALUES } hf_columns;

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

/* One live key. What the columns left out is empty or 0. The bytes are lent until the next row is asked for. */
typedef struct {
    hf_bytes key, value;
    int64_t create_revision, mod_revision, version, lease;
} hf_row;

typedef struct {
    uint64_t keys, key_bytes, value_bytes;
} hf_totals;

typedef struct hf_snapshot hf_snapshot;
typedef struct hf_rows hf_rows;

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
/* False at the end, and when the snapshot cannot be read further. */
bool hf_next(hf_rows *rows, hf_row *row);
/* Gives up a scan before its end. One that came to its end is closed already. */
void hf_close(hf_rows *rows);
bool hf_is_broken(const hf_snapshot *snapshot);

/* ---- what you write ------------------------------------------------------------------------------------------- */

/* Looks, and reports. In the context there is with `remembers` also `previous-backup`, `previous-memo`, `previous-unknown`. */
void hf_verify(hf_snapshot *snapshot, const hf_context *context, hf_bytes config, hf_report *report);

/* ---- what the agent and the tests make of it ------------------------------------------------------------------- */

/* Rows in columns, as they cross over: row i's key is keys[key_ends[i-1] .. key_ends[i]], its value likewise. */
typedef struct {
    const char *keys, *values;
    size_t keys_len, values_len, key_ends_len, value_ends_len, revisions_len;
    const uint32_t *key_ends, *value_ends;
    const int64_t *create_revisions, *mod_revisions, *versions, *leases;
} hf_batch;

/* Where rows come from. What returns bool answers false when the snapshot cannot be read, and has then called `hf_break`. */
struct hf_snapshot {
    int64_t (*revision)(hf_snapshot *);
    bool (*live_keys)(hf_snapshot *, uint64_t *);
    hf_bytes (*fact)(hf_snapshot *, const char *);
    bool (*get)(hf_snapshot *, hf_bytes key, bool *found, hf_row *);
    bool (*totals)(hf_snapshot *, const hf_query *, hf_totals *);
    bool (*open)(hf_snapshot *, const hf_query *, void **cursor);
    /* The batch before is given back by this, and by `close`. */
    bool (*next)(hf_snapshot *, void *cursor, hf_batch *);
    void (*close)(hf_snapshot *, void *cursor);
    hf_bytes error_code, error_message;
};
void hf_break(hf_snapshot *snapshot, hf_bytes code, hf_bytes message);

#endif
