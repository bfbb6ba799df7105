#include "memory.h"
#include "memory_rows.h"

#include <stdio.h>

typedef struct {
    hf_database face;
    memory_rows kept;
    int64_t revision;
    bool is_gone;
} memory;

static bool is_there(hf_database *database) {
    if (((memory *)database)->is_gone) hf_break(&database->source, hf_text("unavailable"), hf_text("the database is gone"));
    return !((memory *)database)->is_gone;
}

static bool matches(const hf_row *row, const void *asked) {
    const hf_query *query = asked;
    return memory_begins_with(row->key, query->prefix) && memory_compare(row->key, query->start) >= 0 &&
           (query->end.len == 0 || memory_compare(row->key, query->end) < 0) && row->mod_revision > query->changed_after;
}

static memory_cursor *select_rows(hf_database *database, const hf_query *query) {
    return memory_select(&((memory *)database)->kept, matches, query, query->descending, query->limit, query->columns);
}

static bool status(hf_database *database, const char *name, hf_bytes *value) {
    if (hf_is(hf_text(name), "version")) *value = hf_text("3.6.0");
    if (hf_is(hf_text(name), "revision")) *value = hf_format("%lld", (long long)((memory *)database)->revision);
    return is_there(database);
}

static bool get(hf_database *database, hf_bytes key, bool *found, hf_row *row) {
    const hf_row *kept = memory_find(&((memory *)database)->kept, key);
    *found = kept != NULL;
    if (*found) *row = *kept;
    return is_there(database);
}

static bool count(hf_database *database, const hf_query *query, uint64_t *keys) {
    *keys = select_rows(database, query)->len;
    return is_there(database);
}

static bool open(hf_database *database, const hf_query *query, void **opened) {
    *opened = select_rows(database, query);
    if (query->at > 0) hf_break(&database->source, hf_text("unsupported"), hf_text("a database in memory has no history"));
    return is_there(database) && query->at <= 0;
}

static bool put(hf_database *database, hf_bytes key, hf_bytes value, int64_t lease, int64_t *revision) {
    memory *kept = (memory *)database;
    if (!is_there(database)) return false;
    const hf_row *old = memory_find(&kept->kept, key);
    *revision = ++kept->revision;
    int64_t created = old != NULL ? old->create_revision : *revision, version = old != NULL ? old->version + 1 : 1;
    memory_keep(&kept->kept, (hf_row){key, value, created, *revision, version, lease});
    return true;
}

static bool delete_keys(hf_database *database, const hf_query *query, uint64_t *keys) {
    memory *kept = (memory *)database;
    if (!is_there(database)) return false;
    hf_query range = {.prefix = query->prefix, .start = query->start, .end = query->end};
    memory_cursor *gone = select_rows(database, &range);
    hf_bytes *names = hf_allocate(gone->len * sizeof *names);
    for (size_t i = 0; i < gone->len; i++) names[i] = gone->rows[i]->key;
    for (size_t i = 0; i < gone->len; i++) memory_remove(&kept->kept, names[i]);
    *keys = gone->len;
    kept->revision += gone->len > 0;
    return true;
}

hf_database *memory_new(void) {
    memory *made = hf_allocate(sizeof *made);
    made->face = (hf_database){
        .source = {.next = memory_next, .close = memory_close},
        .status = status, .get = get, .count = count, .open = open, .put = put, .delete_keys = delete_keys,
    };
    made->kept.damaged_after = SIZE_MAX;
    /* An etcd begins at 1. */
    made->revision = 1;
    return &made->face;
}

void memory_put_text(hf_database *database, const char *key, const char *value) { hf_put(database, hf_text(key), hf_text(value), 0); }

void memory_take_away(hf_database *database) { ((memory *)database)->is_gone = true; }

hf_report *memory_run(hf_database *database, const char *config) {
    hf_report *report = hf_allocate(sizeof *report);
    hf_context context = {NULL, 0};
    hf_run(database, &context, hf_json_parse(hf_text(config)), report);
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
