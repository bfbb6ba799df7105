/* The rows of the agent's cursors. Who includes it has said by READ(..) what the bindings call the types of the interface that has them. */
#include "holdfast_rows.h"

#include <stdlib.h>
#include <string.h>

/* Rows and bytes asked for at once: more make a row no cheaper, and one value can have 1.5 MiB. */
#define BATCH_ROWS 256
#define BATCH_BYTES (1u << 20)

typedef struct {
    READ(own_cursor_t) handle;
    READ(batch_t) batch;
} cursor;

static void broken(hf_source *source, READ(error_t) *error) {
    hf_break(source, taken(error->code), taken(error->message));
    READ(error_free)(error);
}

static void give_back(cursor *scan) {
    READ(batch_free)(&scan->batch);
    memset(&scan->batch, 0, sizeof scan->batch);
}

static bool next(hf_source *source, void *opened, hf_batch *batch) {
    cursor *scan = opened;
    READ(error_t) error;
    give_back(scan);
    if (!READ(method_cursor_next)(
            READ(borrow_cursor)(scan->handle), BATCH_ROWS, BATCH_BYTES, &scan->batch, &error)) {
        memset(&scan->batch, 0, sizeof scan->batch);
        broken(source, &error);
        return false;
    }
    const READ(batch_t) *came = &scan->batch;
    size_t revisions = came->create_revisions.len;
    if (came->mod_revisions.len != revisions || came->versions.len != revisions || came->leases.len != revisions) {
        hf_break(source, hf_text("damaged"), hf_text("a batch of rows has columns that do not fit together"));
        return false;
    }
    *batch = (hf_batch){
        .keys = (const char *)came->keys.ptr, .keys_len = came->keys.len,
        .values = (const char *)came->values.ptr, .values_len = came->values.len,
        .key_ends = came->key_ends.ptr, .key_ends_len = came->key_ends.len,
        .value_ends = came->value_ends.ptr, .value_ends_len = came->value_ends.len,
        .create_revisions = came->create_revisions.ptr, .mod_revisions = came->mod_revisions.ptr,
        .versions = came->versions.ptr, .leases = came->leases.ptr, .revisions_len = revisions,
    };
    return true;
}

static void close(hf_source *source, void *opened) {
    (void)source;
    cursor *scan = opened;
    give_back(scan);
    READ(cursor_drop_own)(scan->handle);
    free(scan);
}
