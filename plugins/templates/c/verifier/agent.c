/* The plugin's face to the agent: the contract's exports, made of `hf_plugin` and `hf_verify`, and a snapshot that the agent reads. Native
 * tests leave this file out. */
#include "bindings/verifier.h"
#include "holdfast_verifier.h"

#include <stdlib.h>
#include <string.h>

/* Rows and bytes asked for at once: more make a row no cheaper, and one value can have 1.5 MiB. */
#define BATCH_ROWS 256
#define BATCH_BYTES (1u << 20)

/* The bindings want the contract linked in; `holdfast plugin component` puts it in instead. */
void __component_type_object_force_link_verifier(void);
void __component_type_object_force_link_verifier(void) {}

typedef struct {
    hf_snapshot face;
    holdfast_snapshot_reader_borrow_snapshot_t handle;
} subject;

typedef struct {
    holdfast_snapshot_reader_own_cursor_t handle;
    holdfast_snapshot_reader_batch_t batch;
} cursor;

/* ---- texts, lent to the agent and taken from it ---------------------------------------------------------------- */

static verifier_string_t lend_text(const char *text) { return (verifier_string_t){(uint8_t *)text, strlen(text)}; }
static verifier_list_u8_t lend(hf_bytes bytes) { return (verifier_list_u8_t){(uint8_t *)bytes.data, bytes.len}; }
static hf_bytes taken(verifier_string_t text) { return (hf_bytes){(const char *)text.ptr, text.len}; }

/* What is returned is freed piece by piece, so each piece is a copy. */
static verifier_string_t give(hf_bytes bytes) {
    verifier_string_t text;
    verifier_string_dup_n(&text, bytes.len > 0 ? bytes.data : "", bytes.len);
    return text;
}

static verifier_list_tuple2_string_string_t give_pairs(size_t len) {
    return (verifier_list_tuple2_string_string_t){len > 0 ? hf_allocate(len * sizeof(verifier_tuple2_string_string_t)) : NULL, len};
}

static void broken(hf_snapshot *snapshot, holdfast_snapshot_reader_error_t *error) {
    hf_break(snapshot, taken(error->code), taken(error->message));
    holdfast_snapshot_reader_error_free(error);
}

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
    broken(snapshot, &error);
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
        broken(snapshot, &error);
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
    else broken(snapshot, &error);
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
        broken(snapshot, &error);
    }
    return open;
}

static void give_back(cursor *scan) {
    holdfast_snapshot_reader_batch_free(&scan->batch);
    memset(&scan->batch, 0, sizeof scan->batch);
}

static bool next(hf_snapshot *snapshot, void *opened, hf_batch *batch) {
    cursor *scan = opened;
    holdfast_snapshot_reader_error_t error;
    give_back(scan);
    if (!holdfast_snapshot_reader_method_cursor_next(
            holdfast_snapshot_reader_borrow_cursor(scan->handle), BATCH_ROWS, BATCH_BYTES, &scan->batch, &error)) {
        memset(&scan->batch, 0, sizeof scan->batch);
        broken(snapshot, &error);
        return false;
    }
    const holdfast_snapshot_reader_batch_t *came = &scan->batch;
    size_t revisions = came->create_revisions.len;
    if (came->mod_revisions.len != revisions || came->versions.len != revisions || came->leases.len != revisions) {
        hf_break(snapshot, hf_text("damaged"), hf_text("a batch of rows has columns that do not fit together"));
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

static void close(hf_snapshot *snapshot, void *opened) {
    (void)snapshot;
    cursor *scan = opened;
    give_back(scan);
    holdfast_snapshot_reader_cursor_drop_own(scan->handle);
    free(scan);
}

/* ---- the exports ---------------------------------------------------------------------------------------------- */

void hf_log(const char *level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    hf_bytes line = hf_format_list(format, arguments);
    va_end(arguments);
    verifier_string_t weight = lend_text(level), message = {(uint8_t *)line.data, line.len};
    holdfast_host_log_write(&weight, &message);
    free((void *)line.data);
}

void exports_holdfast_verifier_plugin_describe(exports_holdfast_verifier_plugin_description_t *description) {
    size_t wants = 0;
    while (hf_plugin.wants != NULL && hf_plugin.wants[wants] != NULL) wants++;
    description->name = give(hf_text(hf_plugin.name));
    description->version = give(hf_text(hf_plugin.version));
    description->summary = give(hf_text(hf_plugin.summary));
    description->config_schema = give(hf_text(hf_plugin.config_schema));
    description->wants.ptr = wants > 0 ? hf_allocate(wants * sizeof *description->wants.ptr) : NULL;
    description->wants.len = wants;
    for (size_t i = 0; i < wants; i++) description->wants.ptr[i] = give(hf_text(hf_plugin.wants[i]));
    description->attributes = give_pairs(hf_plugin.remembers ? 1 : 0);
    if (hf_plugin.remembers) {
        description->attributes.ptr[0].f0 = give(hf_text("memo"));
        description->attributes.ptr[0].f1 = give(hf_text("yes"));
    }
}

static void give_finding(exports_holdfast_verifier_verify_finding_t *given, const hf_found *found) {
    static const char *const severities[] = {"info", "warning", "error"};
    given->severity = give(hf_text(severities[found->severity]));
    given->code = give(found->code);
    given->message = give(found->message);
    given->key.is_some = found->has_key;
    if (found->has_key) {
        verifier_string_t key = give(found->key);
        given->key.val = (verifier_list_u8_t){key.ptr, key.len};
    }
    given->attributes = give_pairs(found->more > 0 ? 2 : 0);
    if (found->more > 0) {
        given->attributes.ptr[0].f0 = give(hf_text("of"));
        given->attributes.ptr[0].f1 = give(found->more_of);
        given->attributes.ptr[1].f0 = give(hf_text("count"));
        given->attributes.ptr[1].f1 = give(hf_format("%zu", found->more));
    }
}

static void give_measurement(exports_holdfast_verifier_verify_measurement_t *given, const hf_number *number) {
    given->name = give(number->name);
    given->value = number->value;
    given->unit = give(number->unit);
    given->attributes = give_pairs(number->attribute.len > 0 ? 1 : 0);
    if (number->attribute.len > 0) {
        given->attributes.ptr[0].f0 = give(number->attribute);
        given->attributes.ptr[0].f1 = give(number->of);
    }
}

bool exports_holdfast_verifier_verify_verify(
    exports_holdfast_verifier_verify_borrow_snapshot_t snapshot, verifier_list_tuple2_string_string_t *facts,
    verifier_string_t *config, exports_holdfast_verifier_verify_report_t *given, exports_holdfast_verifier_verify_error_t *error) {
    subject subject = {
        .face = {.revision = revision, .live_keys = live_keys, .fact = fact, .get = get, .totals = totals, .open = open, .next = next, .close = close},
        .handle = snapshot,
    };
    hf_pair *pairs = hf_allocate(facts->len * sizeof *pairs);
    for (size_t i = 0; i < facts->len; i++) pairs[i] = (hf_pair){taken(facts->ptr[i].f0), taken(facts->ptr[i].f1)};
    hf_context context = {pairs, facts->len};
    hf_report report;
    memset(&report, 0, sizeof report);
    hf_verify(&subject.face, &context, hf_json_parse(taken(*config)), &report);
    /* Dropped before the call ends, as the contract asks. */
    holdfast_snapshot_reader_snapshot_drop_borrow(snapshot);

    if (hf_is_broken(&subject.face) && report.error_code.len == 0) {
        hf_give_up(&report, "snapshot", "the snapshot cannot be read (%.*s): %.*s", HF_ARG(subject.face.error_code),
            HF_ARG(subject.face.error_message));
    }
    if (report.error_code.len > 0) {
        error->code = give(report.error_code);
        error->message = give(report.error_message);
        return false;
    }
    const hf_found *findings = hf_report_findings(&report);
    size_t found = 0, measured = 0;
    for (const hf_found *each = findings; each != NULL; each = each->next) found++;
    for (const hf_number *each = report.numbers; each != NULL; each = each->next) measured++;
    given->outcome = (exports_holdfast_verifier_verify_outcome_t)hf_report_outcome(&report);
    given->summary = give(report.summary);
    given->findings.len = found;
    given->findings.ptr = found > 0 ? hf_allocate(found * sizeof *given->findings.ptr) : NULL;
    given->measurements.len = measured;
    given->measurements.ptr = measured > 0 ? hf_allocate(measured * sizeof *given->measurements.ptr) : NULL;
    for (size_t i = 0; i < found; i++, findings = findings->next) give_finding(&given->findings.ptr[i], findings);
    const hf_number *number = report.numbers;
    for (size_t i = 0; i < measured; i++, number = number->next) give_measurement(&given->measurements.ptr[i], number);
    given->attributes = give_pairs(report.memo.len > 0 ? 1 : 0);
    if (report.memo.len > 0) {
        given->attributes.ptr[0].f0 = give(hf_text("memo"));
        given->attributes.ptr[0].f1 = give(report.memo);
    }
    return true;
}
