/* The plugin's face to the agent: the contract's exports, made of `hf_plugin` and `hf_verify`, and a snapshot that the agent reads. Native
 * tests leave this file out. */
#include "bindings/verifier.h"
#include "holdfast_verifier.h"

#include <stdlib.h>
#include <string.h>

#define AGENT(name) verifier_##name
#define PLUGIN(name) exports_holdfast_verifier_plugin_##name
#define CALL(name) exports_holdfast_verifier_verify_##name
#include "agent_report.h"

#define READ(name) holdfast_snapshot_reader_##name
#include "agent_rows.h"

/* The bindings want the contract linked in; `holdfast plugin component` puts it in instead. */
void __component_type_object_force_link_verifier(void);
void __component_type_object_force_link_verifier(void) {}

typedef struct {
    hf_snapshot face;
    holdfast_snapshot_reader_borrow_snapshot_t handle;
} subject;

/* ---- the snapshot --------------------------------------------------------------------------------------------- */

static holdfast_snapshot_reader_borrow_snapshot_t handle(hf_snapshot *snapshot) { return ((subject *)snapshot)->handle; }

static holdfast_snapshot_reader_own_query_t ask(const hf_query *query) {
    holdfast_snapshot_reader_own_query_t own = holdfast_snapshot_reader_constructor_query();
    holdfast_snapshot_reader_borrow_query_t asked = holdfast_snapshot_reader_borrow_query(own);
    if (query->prefix.len > 0) {
        verifier_list_u8_t prefix = lend(query->prefix);
        holdfast_snapshot_reader_method_query_prefix(asked, &prefix);
    }
    if (query->start.len > 0 || query->end.len > 0) {
        verifier_list_u8_t start = lend(query->start), end = lend(query->end);
        holdfast_snapshot_reader_method_query_range(asked, &start, &end);
    }
    if (query->key_contains.len > 0) {
        verifier_list_u8_t needle = lend(query->key_contains);
        holdfast_snapshot_reader_method_query_key_contains(asked, &needle);
    }
    if (query->value_prefix.len > 0) {
        verifier_list_u8_t prefix = lend(query->value_prefix);
        holdfast_snapshot_reader_method_query_value_prefix(asked, &prefix);
    }
    if (query->changed_after > 0) holdfast_snapshot_reader_method_query_changed_after(asked, query->changed_after);
    if (query->descending) holdfast_snapshot_reader_method_query_descending(asked);
    if (query->limit > 0) holdfast_snapshot_reader_method_query_limit(asked, query->limit);
    holdfast_snapshot_reader_method_query_columns(asked, true, query->columns != HF_KEYS, query->columns == HF_ALL_COLUMNS);
    return own;
}

static int64_t revision(hf_snapshot *snapshot) {
    return holdfast_snapshot_reader_method_snapshot_revision(handle(snapshot));
}

static bool live_keys(hf_snapshot *snapshot, uint64_t *keys) {
    holdfast_snapshot_reader_error_t error;
    if (holdfast_snapshot_reader_method_snapshot_live_keys(handle(snapshot), keys, &error)) return true;
    broken(&snapshot->source, &error);
    return false;
}

static hf_bytes fact(hf_snapshot *snapshot, const char *name) {
    verifier_string_t asked = lend_text(name), value;
    bool known = holdfast_snapshot_reader_method_snapshot_fact(handle(snapshot), &asked, &value);
    return known ? taken(value) : (hf_bytes){"", 0};
}

static bool get(hf_snapshot *snapshot, hf_bytes key, bool *found, hf_row *row) {
    verifier_list_u8_t asked = lend(key);
    holdfast_snapshot_reader_option_key_value_t answer;
    holdfast_snapshot_reader_error_t error;
    if (!holdfast_snapshot_reader_method_snapshot_get(handle(snapshot), &asked, &answer, &error)) {
        broken(&snapshot->source, &error);
        return false;
    }
    *found = answer.is_some;
    if (answer.is_some) {
        holdfast_snapshot_reader_key_value_t *live = &answer.val;
        row->key = (hf_bytes){(const char *)live->key.ptr, live->key.len};
        row->value = (hf_bytes){(const char *)live->value.ptr, live->value.len};
        row->create_revision = live->create_revision;
        row->mod_revision = live->mod_revision;
        row->version = live->version;
        row->lease = live->lease;
    }
    return true;
}

static bool totals(hf_snapshot *snapshot, const hf_query *query, hf_totals *sums) {
    holdfast_snapshot_reader_own_query_t asked = ask(query);
    holdfast_snapshot_reader_totals_t answer;
    holdfast_snapshot_reader_error_t error;
    bool known = holdfast_snapshot_reader_method_snapshot_totals(
        handle(snapshot), holdfast_snapshot_reader_borrow_query(asked), &answer, &error);
    holdfast_snapshot_reader_query_drop_own(asked);
    if (known) *sums = (hf_totals){answer.keys, answer.key_bytes, answer.value_bytes};
    else broken(&snapshot->source, &error);
    return known;
}

static bool open(hf_snapshot *snapshot, const hf_query *query, void **opened) {
    holdfast_snapshot_reader_own_query_t asked = ask(query);
    holdfast_snapshot_reader_error_t error;
    cursor *begun = hf_allocate(sizeof *begun);
    bool open = holdfast_snapshot_reader_method_snapshot_open(
        handle(snapshot), holdfast_snapshot_reader_borrow_query(asked), &begun->handle, &error);
    holdfast_snapshot_reader_query_drop_own(asked);
    if (open) {
        *opened = begun;
    } else {
        free(begun);
        broken(&snapshot->source, &error);
    }
    return open;
}

/* ---- the export ----------------------------------------------------------------------------------------------- */

bool exports_holdfast_verifier_verify_verify(
    exports_holdfast_verifier_verify_borrow_snapshot_t snapshot, verifier_list_tuple2_string_string_t *facts,
    verifier_string_t *config, exports_holdfast_verifier_verify_report_t *given, exports_holdfast_verifier_verify_error_t *error) {
    subject subject = {
        .face = {
            .source = {.next = next, .close = close},
            .revision = revision, .live_keys = live_keys, .fact = fact, .get = get, .totals = totals, .open = open,
        },
        .handle = snapshot,
    };
    hf_context context = take_context(facts);
    hf_report report;
    memset(&report, 0, sizeof report);
    hf_verify(&subject.face, &context, hf_json_parse(taken(*config)), &report);
    /* Dropped before the call ends, as the contract asks. */
    holdfast_snapshot_reader_snapshot_drop_borrow(snapshot);

    if (hf_is_broken(&subject.face) && report.error_code.len == 0) {
        hf_give_up(&report, "snapshot", "the snapshot cannot be read (%.*s): %.*s", HF_ARG(subject.face.source.error_code),
            HF_ARG(subject.face.source.error_message));
    }
    return give_report(&report, given, error);
}
