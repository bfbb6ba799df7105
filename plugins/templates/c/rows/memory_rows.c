#include "memory_rows.h"

#include <string.h>

int memory_compare(hf_bytes a, hf_bytes b) {
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

bool memory_begins_with(hf_bytes bytes, hf_bytes prefix) {
    return prefix.len == 0 || (bytes.len >= prefix.len && memcmp(bytes.data, prefix.data, prefix.len) == 0);
}

/* Where a key is, or would be. */
static size_t place(const memory_rows *memory, hf_bytes key) {
    size_t at = 0;
    while (at < memory->len && memory_compare(memory->rows[at].key, key) < 0) at++;
    return at;
}

hf_row *memory_find(const memory_rows *memory, hf_bytes key) {
    size_t at = place(memory, key);
    return at < memory->len && hf_equal(memory->rows[at].key, key) ? &memory->rows[at] : NULL;
}

void memory_keep(memory_rows *memory, hf_row row) {
    hf_row *known = memory_find(memory, row.key);
    row.key = hf_copy(row.key);
    row.value = hf_copy(row.value);
    if (known != NULL) {
        *known = row;
        return;
    }
    size_t at = place(memory, row.key);
    hf_row *rows = hf_allocate((memory->len + 1) * sizeof *rows);
    for (size_t i = 0; i <= memory->len; i++) rows[i] = i < at ? memory->rows[i] : i == at ? row : memory->rows[i - 1];
    memory->rows = rows;
    memory->len++;
}

void memory_remove(memory_rows *memory, hf_bytes key) {
    if (memory_find(memory, key) == NULL) return;
    memory->len--;
    for (size_t i = place(memory, key); i < memory->len; i++) memory->rows[i] = memory->rows[i + 1];
}

memory_cursor *memory_select(const memory_rows *memory, memory_filter matches, const void *query, bool descending, uint64_t limit, hf_columns columns) {
    memory_cursor *scan = hf_allocate(sizeof *scan);
    scan->rows = hf_allocate(memory->len * sizeof *scan->rows);
    scan->columns = columns;
    scan->damaged_after = memory->damaged_after;
    for (size_t i = 0; i < memory->len; i++) {
        const hf_row *row = &memory->rows[descending ? memory->len - 1 - i : i];
        if (matches(row, query) && (limit == 0 || scan->len < limit)) scan->rows[scan->len++] = row;
    }
    return scan;
}

bool memory_next(hf_source *source, void *cursor, hf_batch *batch) {
    memory_cursor *scan = cursor;
    memset(batch, 0, sizeof *batch);
    if (scan->position >= scan->damaged_after) {
        hf_break(source, hf_text("damaged"), hf_text("the file breaks off"));
        return false;
    }
    if (scan->position == scan->len) return true;
    const hf_row *row = scan->rows[scan->position++];
    scan->key_end = (uint32_t)row->key.len;
    batch->keys = row->key.data;
    batch->keys_len = row->key.len;
    batch->key_ends = &scan->key_end;
    batch->key_ends_len = 1;
    if (scan->columns != HF_KEYS) {
        scan->value_end = (uint32_t)row->value.len;
        batch->values = row->value.data;
        batch->values_len = row->value.len;
        batch->value_ends = &scan->value_end;
        batch->value_ends_len = 1;
    }
    if (scan->columns == HF_ALL_COLUMNS) {
        batch->create_revisions = &row->create_revision;
        batch->mod_revisions = &row->mod_revision;
        batch->versions = &row->version;
        batch->leases = &row->lease;
        batch->revisions_len = 1;
    }
    return true;
}

void memory_close(hf_source *source, void *cursor) {
    (void)source;
    (void)cursor;
}
