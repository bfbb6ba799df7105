/* Rows made up in memory, for tests. */
#ifndef MEMORY_ROWS_H
#define MEMORY_ROWS_H

#include "holdfast_rows.h"

/* Ascending by key, each once. */
typedef struct {
    hf_row *rows;
    size_t len;
    /* Every scan fails once it has handed out this many rows. */
    size_t damaged_after;
} memory_rows;

int memory_compare(hf_bytes a, hf_bytes b);
bool memory_begins_with(hf_bytes bytes, hf_bytes prefix);
/* The row of a key, or NULL. */
hf_row *memory_find(const memory_rows *memory, hf_bytes key);
/* Adds a row, in the place of the one that has its key. */
void memory_keep(memory_rows *memory, hf_row row);
void memory_remove(memory_rows *memory, hf_bytes key);

typedef struct {
    const hf_row **rows;
    size_t len, position, damaged_after;
    hf_columns columns;
    uint32_t key_end, value_end;
} memory_cursor;

/* A cursor over the rows that match; `limit` 0 is none. */
typedef bool (*memory_filter)(const hf_row *row, const void *query);
memory_cursor *memory_select(const memory_rows *memory, memory_filter matches, const void *query, bool descending, uint64_t limit, hf_columns columns);
/* One row a batch: whatever holds for the smallest batches holds for others. */
bool memory_next(hf_source *source, void *cursor, hf_batch *batch);
void memory_close(hf_source *source, void *cursor);

#endif
