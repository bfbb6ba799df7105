#include "holdfast_verifier.h"

bool hf_is_broken(const hf_snapshot *snapshot) { return snapshot->source.error_code.len > 0; }

int64_t hf_revision(hf_snapshot *snapshot) { return snapshot->revision(snapshot); }

uint64_t hf_live_keys(hf_snapshot *snapshot) {
    uint64_t keys = 0;
    return snapshot->live_keys(snapshot, &keys) ? keys : 0;
}

hf_bytes hf_fact(hf_snapshot *snapshot, const char *name) { return snapshot->fact(snapshot, name); }

bool hf_get(hf_snapshot *snapshot, hf_bytes key, hf_row *row) {
    bool found = false;
    *row = (hf_row){{"", 0}, {"", 0}, 0, 0, 0, 0};
    return snapshot->get(snapshot, key, &found, row) && found;
}

hf_totals hf_count(hf_snapshot *snapshot, const hf_query *query) {
    hf_totals totals = {0, 0, 0};
    return snapshot->totals(snapshot, query, &totals) ? totals : (hf_totals){0, 0, 0};
}

hf_rows *hf_scan(hf_snapshot *snapshot, const hf_query *query) {
    void *cursor;
    return hf_rows_of(&snapshot->source, snapshot->open(snapshot, query, &cursor) ? cursor : NULL);
}
