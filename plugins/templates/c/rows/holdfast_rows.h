/* Rows as they cross over, in columns, made rows again. */
#ifndef HOLDFAST_ROWS_H
#define HOLDFAST_ROWS_H

#include "holdfast.h"

typedef enum { HF_ALL_COLUMNS, HF_KEYS, HF_KEYS_AND_VALUES } hf_columns;

/* One live key. What the columns left out is empty or 0. The bytes are lent until the next row is asked for. */
typedef struct {
    hf_bytes key, value;
    int64_t create_revision, mod_revision, version, lease;
} hf_row;

typedef struct hf_rows hf_rows;

/* False at the end, and when nothing further can be read. */
bool hf_next(hf_rows *rows, hf_row *row);
/* Gives up a scan before its end. One that came to its end is closed already. */
void hf_close(hf_rows *rows);

/* ---- what the agent and the tests make of it ------------------------------------------------------------------- */

/* Rows in columns, as they cross over: row i's key is keys[key_ends[i-1] .. key_ends[i]], its value likewise. */
typedef struct {
    const char *keys, *values;
    size_t keys_len, values_len, key_ends_len, value_ends_len, revisions_len;
    const uint32_t *key_ends, *value_ends;
    const int64_t *create_revisions, *mod_revisions, *versions, *leases;
} hf_batch;

/* Where rows come from. It remembers the first call that failed. */
typedef struct hf_source {
    /* False when it cannot be read, which `hf_break` was told then. The batch before is given back by this, and by `close`. */
    bool (*next)(struct hf_source *source, void *cursor, hf_batch *batch);
    void (*close)(struct hf_source *source, void *cursor);
    hf_bytes error_code, error_message;
} hf_source;
void hf_break(hf_source *source, hf_bytes code, hf_bytes message);
/* The rows of a cursor; of none there are no rows. */
hf_rows *hf_rows_of(hf_source *source, void *cursor);

#endif
