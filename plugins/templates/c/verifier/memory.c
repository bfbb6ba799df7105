#include "memory.h"
#include "memory_rows.h"

#include <stdio.h>

typedef struct {
    hf_snapshot face;
    memory_rows kept;
} memory;

static bool contains(hf_bytes bytes, hf_bytes needle) {
    for (size_t i = 0; i + needle.len <= bytes.len; i++) {
        if (memory_begins_with((hf_bytes){bytes.data + i, bytes.len - i}, needle)) return true;
    }
    return false;
}

static bool matches(const hf_row *row, const void *asked) {
    const hf_query *query = asked;
    return memory_begins_with(row->key, query->prefix) && memory_compare(row->key, query->start) >= 0 &&
           (query->end.len == 0 || memory_compare(row->key, query->end) < 0) && contains(row->key, query->key_contains) &&
           memory_begins_with(row->value, query->value_prefix) && row->mod_revision > query->changed_after;
}

static memory_cursor *select_rows(hf_snapshot *snapshot, const hf_query *query) {
    return memory_select(&((memory *)snapshot)->kept, matches, query, query->descending, query->limit, query->columns);
}

static int64_t revision(hf_snapshot *snapshot) { return (int64_t)((memory *)snapshot)->kept.len + 1; }

static bool live_keys(hf_snapshot *snapshot, uint64_t *keys) {
    *keys = ((memory *)snapshot)->kept.len;
    return true;
}

static hf_bytes fact(hf_snapshot *snapshot, const char *name) {
    (void)snapshot;
    (void)name;
    return (hf_bytes){"", 0};
}

static bool get(hf_snapshot *snapshot, hf_bytes key, bool *found, hf_row *row) {
    const hf_row *kept = memory_find(&((memory *)snapshot)->kept, key);
    *found = kept != NULL;
    if (*found) *row = *kept;
    return true;
}

static bool totals(hf_snapshot *snapshot, const hf_query *query, hf_totals *sums) {
    memory_cursor *scan = select_rows(snapshot, query);
    sums->keys = scan->len;
    for (size_t i = 0; i < scan->len; i++) {
        sums->key_bytes += scan->rows[i]->key.len;
        sums->value_bytes += scan->rows[i]->value.len;
    }
    return true;
}

static bool open(hf_snapshot *snapshot, const hf_query *query, void **opened) {
    *opened = select_rows(snapshot, query);
    return true;
}

hf_snapshot *memory_new(void) {
    memory *made = hf_allocate(sizeof *made);
    made->face = (hf_snapshot){
        .source = {.next = memory_next, .close = memory_close},
        .revision = revision, .live_keys = live_keys, .fact = fact, .get = get, .totals = totals, .open = open,
    };
    made->kept.damaged_after = SIZE_MAX;
    return &made->face;
}

void memory_put(hf_snapshot *snapshot, const char *key, hf_bytes value) {
    int64_t at = revision(snapshot) + 1;
    memory_keep(&((memory *)snapshot)->kept, (hf_row){hf_text(key), value, at, at, 1, 0});
}

void memory_put_text(hf_snapshot *snapshot, const char *key, const char *value) { memory_put(snapshot, key, hf_text(value)); }

void memory_damage_after(hf_snapshot *snapshot, size_t rows) { ((memory *)snapshot)->kept.damaged_after = rows; }

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
