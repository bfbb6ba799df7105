#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    hf_snapshot face;
    hf_row *rows;
    size_t len;
    size_t damaged_after;
} memory;

typedef struct {
    const hf_row **rows;
    size_t len, position;
    hf_columns columns;
    uint32_t key_end, value_end;
} cursor;

static int compare(const void *a, const void *b) {
    hf_bytes left = ((const hf_row *)a)->key, right = ((const hf_row *)b)->key;
    size_t common = left.len < right.len ? left.len : right.len;
    int order = common > 0 ? memcmp(left.data, right.data, common) : 0;
    return order != 0 ? order : (left.len > right.len) - (left.len < right.len);
}

static bool before(hf_bytes a, hf_bytes b) {
    hf_row left = {.key = a}, right = {.key = b};
    return compare(&left, &right) < 0;
}

static bool begins_with(hf_bytes bytes, hf_bytes prefix) {
    return prefix.len == 0 || (bytes.len >= prefix.len && memcmp(bytes.data, prefix.data, prefix.len) == 0);
}

static bool contains(hf_bytes bytes, hf_bytes needle) {
    for (size_t i = 0; i + needle.len <= bytes.len; i++) {
        if (begins_with((hf_bytes){bytes.data + i, bytes.len - i}, needle)) return true;
    }
    return false;
}

static bool matches(const hf_row *row, const hf_query *query) {
    return begins_with(row->key, query->prefix) && !before(row->key, query->start) &&
           (query->end.len == 0 || before(row->key, query->end)) && contains(row->key, query->key_contains) &&
           begins_with(row->value, query->value_prefix) && row->mod_revision > query->changed_after;
}

static cursor *select_rows(memory *memory, const hf_query *query) {
    cursor *scan = hf_allocate(sizeof *scan);
    scan->rows = hf_allocate(memory->len * sizeof *scan->rows);
    scan->columns = query->columns;
    for (size_t i = 0; i < memory->len; i++) {
        const hf_row *row = &memory->rows[query->descending ? memory->len - 1 - i : i];
        if (matches(row, query) && (query->limit == 0 || scan->len < query->limit)) scan->rows[scan->len++] = row;
    }
    return scan;
}

static int64_t revision(hf_snapshot *snapshot) { return (int64_t)((memory *)snapshot)->len + 1; }

static bool live_keys(hf_snapshot *snapshot, uint64_t *keys) {
    *keys = ((memory *)snapshot)->len;
    return true;
}

static hf_bytes fact(hf_snapshot *snapshot, const char *name) {
    (void)snapshot;
    (void)name;
    return (hf_bytes){"", 0};
}

static bool get(hf_snapshot *snapshot, hf_bytes key, bool *found, hf_row *row) {
    memory *memory_ = (memory *)snapshot;
    for (size_t i = 0; i < memory_->len; i++) {
        if (!hf_equal(memory_->rows[i].key, key)) continue;
        *row = memory_->rows[i];
        *found = true;
    }
    return true;
}

static bool totals(hf_snapshot *snapshot, const hf_query *query, hf_totals *sums) {
    cursor *scan = select_rows((memory *)snapshot, query);
    sums->keys = scan->len;
    for (size_t i = 0; i < scan->len; i++) {
        sums->key_bytes += scan->rows[i]->key.len;
        sums->value_bytes += scan->rows[i]->value.len;
    }
    return true;
}

static bool open(hf_snapshot *snapshot, const hf_query *query, void **opened) {
    *opened = select_rows((memory *)snapshot, query);
    return true;
}

/* One row a batch: whatever holds for the smallest batches holds for others. */
static bool next(hf_snapshot *snapshot, void *opened, hf_batch *batch) {
    cursor *scan = opened;
    memset(batch, 0, sizeof *batch);
    if (scan->position >= ((memory *)snapshot)->damaged_after) {
        hf_break(snapshot, hf_text("damaged"), hf_text("the file breaks off"));
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

static void close(hf_snapshot *snapshot, void *opened) {
    (void)snapshot;
    (void)opened;
}

hf_snapshot *memory_new(void) {
    memory *made = hf_allocate(sizeof *made);
    made->face = (hf_snapshot){.revision = revision, .live_keys = live_keys, .fact = fact, .get = get, .totals = totals, .open = open, .next = next, .close = close};
    made->damaged_after = SIZE_MAX;
    return &made->face;
}

void memory_put(hf_snapshot *snapshot, const char *key, hf_bytes value) {
    memory *memory_ = (memory *)snapshot;
    hf_row *rows = hf_allocate((memory_->len + 1) * sizeof *rows);
    if (memory_->len > 0) memcpy(rows, memory_->rows, memory_->len * sizeof *rows);
    int64_t at = revision(snapshot) + 1;
    rows[memory_->len++] = (hf_row){hf_copy(hf_text(key)), hf_copy(value), at, at, 1, 0};
    qsort(rows, memory_->len, sizeof *rows, compare);
    memory_->rows = rows;
}

void memory_put_text(hf_snapshot *snapshot, const char *key, const char *value) { memory_put(snapshot, key, hf_text(value)); }

void memory_damage_after(hf_snapshot *snapshot, size_t rows) { ((memory *)snapshot)->damaged_after = rows; }

hf_report *memory_run(hf_snapshot *snapshot, const char *config) {
    hf_report *report = hf_allocate(sizeof *report);
    hf_context context = {NULL, 0};
    hf_verify(snapshot, &context, hf_json_parse(hf_text(config)), report);
    return report;
}

/* The agent's log, for a test. */
void hf_log(const char *level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", level);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}
