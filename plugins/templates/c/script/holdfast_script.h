/* A script: the restored etcd that it works with. `script.c` writes `hf_plugin` and `hf_run`; everything else is here.
 *
 * A call that fails answers with nothing, ends every scan, and is remembered: whatever the report says, the agent is told that the database
 * could not be asked. So nothing has to be asked after each call.
 */
#ifndef HOLDFAST_SCRIPT_H
#define HOLDFAST_SCRIPT_H

#include "holdfast_report.h"
#include "holdfast_rows.h"

/* ---- the restored etcd ---------------------------------------------------------------------------------------- */

/* Which keys. `(hf_query){0}` is every live key, ascending; every field that is set narrows it. */
typedef struct {
    hf_bytes prefix;
    /* Keys in [start, end). */
    hf_bytes start, end;
    int64_t changed_after;
    /* The keys as they were at this revision; 0 for now. */
    int64_t at;
    bool descending;
    /* At most this many rows; 0 for all. */
    uint64_t limit;
    hf_columns columns;
} hf_query;

typedef struct hf_database hf_database;

/* What it says of itself, by name: `version`, `revision`, `db-size`, …; empty when it does not say. */
hf_bytes hf_status(hf_database *database, const char *name);
/* One key; false when there is none. */
bool hf_get(hf_database *database, hf_bytes key, hf_row *row);
uint64_t hf_count(hf_database *database, const hf_query *query);
/* All rows are of one revision:
 * hf_rows *rows = hf_scan(database, &query);
 * hf_row row;
 * while (hf_next(rows, &row)) … */
hf_rows *hf_scan(hf_database *database, const hf_query *query);
/* Sets a key, with a lease or 0; gives the revision. */
int64_t hf_put(hf_database *database, hf_bytes key, hf_bytes value, int64_t lease);
/* Deletes the keys of a query; gives how many there were. */
uint64_t hf_delete(hf_database *database, const hf_query *query);
/* Has a call failed? */
bool hf_is_broken(const hf_database *database);

/* ---- what you write ------------------------------------------------------------------------------------------- */

/* Looks, writes, and reports: the database is thrown away afterwards. */
void hf_run(hf_database *database, const hf_context *context, hf_bytes config, hf_report *report);

/* ---- what the agent and the tests make of it ------------------------------------------------------------------- */

/* Where it comes from. What returns bool answers false when the database cannot be asked, and has then called `hf_break`. */
struct hf_database {
    hf_source source;
    bool (*status)(hf_database *, const char *name, hf_bytes *value);
    bool (*get)(hf_database *, hf_bytes key, bool *found, hf_row *);
    bool (*count)(hf_database *, const hf_query *, uint64_t *);
    bool (*open)(hf_database *, const hf_query *, void **cursor);
    bool (*put)(hf_database *, hf_bytes key, hf_bytes value, int64_t lease, int64_t *revision);
    bool (*delete_keys)(hf_database *, const hf_query *, uint64_t *);
};

#endif
