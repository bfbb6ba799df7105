#include "holdfast_rows.h"

struct hf_rows {
    hf_source *source;
    void *cursor;
    hf_batch batch;
    size_t position, len;
};

void hf_break(hf_source *source, hf_bytes code, hf_bytes message) {
    if (source->error_code.len > 0) return;
    source->error_code = hf_copy(code);
    source->error_message = hf_copy(message);
}

hf_rows *hf_rows_of(hf_source *source, void *cursor) {
    hf_rows *rows = hf_allocate(sizeof *rows);
    rows->source = source;
    rows->cursor = cursor;
    return rows;
}

void hf_close(hf_rows *rows) {
    if (rows->cursor != NULL) rows->source->close(rows->source, rows->cursor);
    rows->cursor = NULL;
    rows->position = rows->len = 0;
}

static bool ends_fit(const uint32_t *ends, size_t len, size_t bytes) {
    for (size_t i = 0; i < len; i++) {
        if (ends[i] > bytes || (i > 0 && ends[i] < ends[i - 1])) return false;
    }
    return true;
}

/* Takes the next batch, and checks that no row reaches outside of its columns. */
static bool next_batch(hf_rows *rows) {
    hf_batch *batch = &rows->batch;
    if (rows->cursor == NULL || !rows->source->next(rows->source, rows->cursor, batch)) return false;
    rows->position = 0;
    rows->len = batch->key_ends_len;
    if (rows->len < batch->value_ends_len) rows->len = batch->value_ends_len;
    if (rows->len < batch->revisions_len) rows->len = batch->revisions_len;
    bool whole = (batch->key_ends_len == 0 || batch->key_ends_len == rows->len) &&
                 (batch->value_ends_len == 0 || batch->value_ends_len == rows->len) &&
                 (batch->revisions_len == 0 || batch->revisions_len == rows->len) &&
                 ends_fit(batch->key_ends, batch->key_ends_len, batch->keys_len) &&
                 ends_fit(batch->value_ends, batch->value_ends_len, batch->values_len);
    if (!whole) hf_break(rows->source, hf_text("damaged"), hf_text("a batch of rows has columns that do not fit together"));
    return whole && rows->len > 0;
}

static hf_bytes slice(const char *bytes, const uint32_t *ends, size_t len, size_t index) {
    if (len == 0) return (hf_bytes){"", 0};
    uint32_t start = index == 0 ? 0 : ends[index - 1];
    return (hf_bytes){bytes + start, ends[index] - start};
}

bool hf_next(hf_rows *rows, hf_row *row) {
    *row = (hf_row){{"", 0}, {"", 0}, 0, 0, 0, 0};
    if (rows->position == rows->len && !next_batch(rows)) {
        hf_close(rows);
        return false;
    }
    const hf_batch *batch = &rows->batch;
    size_t index = rows->position++;
    row->key = slice(batch->keys, batch->key_ends, batch->key_ends_len, index);
    row->value = slice(batch->values, batch->value_ends, batch->value_ends_len, index);
    if (batch->revisions_len > 0) {
        row->create_revision = batch->create_revisions[index];
        row->mod_revision = batch->mod_revisions[index];
        row->version = batch->versions[index];
        row->lease = batch->leases[index];
    }
    return true;
}
