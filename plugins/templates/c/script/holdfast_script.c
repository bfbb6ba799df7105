#include "holdfast_script.h"

bool hf_is_broken(const hf_database *database) { return database->source.error_code.len > 0; }

hf_bytes hf_status(hf_database *database, const char *name) {
    hf_bytes value = {"", 0};
    return database->status(database, name, &value) ? value : (hf_bytes){"", 0};
}

bool hf_get(hf_database *database, hf_bytes key, hf_row *row) {
    bool found = false;
    *row = (hf_row){{"", 0}, {"", 0}, 0, 0, 0, 0};
    return database->get(database, key, &found, row) && found;
}

uint64_t hf_count(hf_database *database, const hf_query *query) {
    uint64_t keys = 0;
    return database->count(database, query, &keys) ? keys : 0;
}

hf_rows *hf_scan(hf_database *database, const hf_query *query) {
    void *cursor;
    return hf_rows_of(&database->source, database->open(database, query, &cursor) ? cursor : NULL);
}

int64_t hf_put(hf_database *database, hf_bytes key, hf_bytes value, int64_t lease) {
    int64_t revision = 0;
    return database->put(database, key, value, lease, &revision) ? revision : 0;
}

uint64_t hf_delete(hf_database *database, const hf_query *query) {
    uint64_t keys = 0;
    return database->delete_keys(database, query, &keys) ? keys : 0;
}
