/* The plugin's face to the agent: the contract's exports, made of `hf_plugin` and `hf_run`, and the agent's etcd. Native tests leave this
 * file out. */
#include "contract.h"

#include <stdlib.h>
#include <string.h>

#define AGENT(name) script_##name
#define PLUGIN(name) exports_holdfast_script_plugin_##name
#define CALL(name) exports_holdfast_script_run_##name
#include "agent_report.h"

#define READ(name) holdfast_script_database_##name
#include "agent_rows.h"

/* The bindings want the contract linked in; `holdfast plugin component` puts it in instead. */
void __component_type_object_force_link_script(void);
void __component_type_object_force_link_script(void) {}

typedef struct {
    hf_database face;
    holdfast_script_database_borrow_database_t handle;
} subject;

holdfast_script_database_borrow_database_t hf_contract(hf_database *database) { return ((subject *)database)->handle; }

/* ---- the restored etcd ---------------------------------------------------------------------------------------- */

static holdfast_script_database_own_query_t ask(const hf_query *query) {
    holdfast_script_database_own_query_t own = holdfast_script_database_constructor_query();
    holdfast_script_database_borrow_query_t asked = holdfast_script_database_borrow_query(own);
    if (query->prefix.len > 0) {
        script_list_u8_t prefix = lend(query->prefix);
        holdfast_script_database_method_query_prefix(asked, &prefix);
    }
    if (query->start.len > 0 || query->end.len > 0) {
        script_list_u8_t start = lend(query->start), end = lend(query->end);
        holdfast_script_database_method_query_range(asked, &start, &end);
    }
    if (query->changed_after > 0) holdfast_script_database_method_query_changed_after(asked, query->changed_after);
    if (query->at > 0) holdfast_script_database_method_query_at(asked, query->at);
    if (query->descending) holdfast_script_database_method_query_descending(asked);
    if (query->limit > 0) holdfast_script_database_method_query_limit(asked, query->limit);
    holdfast_script_database_method_query_columns(asked, true, query->columns != HF_KEYS, query->columns == HF_ALL_COLUMNS);
    return own;
}

static bool answered(hf_database *database, bool done, holdfast_script_database_error_t *error) {
    if (!done) broken(&database->source, error);
    return done;
}

static bool status(hf_database *database, const char *name, hf_bytes *value) {
    script_list_tuple2_string_string_t facts;
    holdfast_script_database_error_t error;
    if (!answered(database, holdfast_script_database_method_database_status(hf_contract(database), &facts, &error), &error)) return false;
    for (size_t i = 0; i < facts.len; i++) {
        if (hf_is(taken(facts.ptr[i].f0), name)) *value = taken(facts.ptr[i].f1);
    }
    return true;
}

static bool get(hf_database *database, hf_bytes key, bool *found, hf_row *row) {
    script_list_u8_t asked = lend(key);
    holdfast_script_database_option_key_value_t answer;
    holdfast_script_database_error_t error;
    if (!answered(database, holdfast_script_database_method_database_get(hf_contract(database), &asked, &answer, &error), &error)) return false;
    *found = answer.is_some;
    if (answer.is_some) {
        const holdfast_script_database_key_value_t *live = &answer.val;
        row->key = (hf_bytes){(const char *)live->key.ptr, live->key.len};
        row->value = (hf_bytes){(const char *)live->value.ptr, live->value.len};
        row->create_revision = live->create_revision;
        row->mod_revision = live->mod_revision;
        row->version = live->version;
        row->lease = live->lease;
    }
    return true;
}

static bool count(hf_database *database, const hf_query *query, uint64_t *keys) {
    holdfast_script_database_own_query_t asked = ask(query);
    holdfast_script_database_error_t error;
    bool done = holdfast_script_database_method_database_count(
        hf_contract(database), holdfast_script_database_borrow_query(asked), keys, &error);
    holdfast_script_database_query_drop_own(asked);
    return answered(database, done, &error);
}

static bool open(hf_database *database, const hf_query *query, void **opened) {
    holdfast_script_database_own_query_t asked = ask(query);
    holdfast_script_database_error_t error;
    cursor *begun = hf_allocate(sizeof *begun);
    bool done = holdfast_script_database_method_database_open(
        hf_contract(database), holdfast_script_database_borrow_query(asked), &begun->handle, &error);
    holdfast_script_database_query_drop_own(asked);
    *opened = begun;
    return answered(database, done, &error);
}

static bool put(hf_database *database, hf_bytes key, hf_bytes value, int64_t lease, int64_t *revision) {
    script_list_u8_t at = lend(key), written = lend(value);
    holdfast_script_database_error_t error;
    bool done = holdfast_script_database_method_database_put(hf_contract(database), &at, &written, lease, revision, &error);
    return answered(database, done, &error);
}

static bool delete_keys(hf_database *database, const hf_query *query, uint64_t *keys) {
    holdfast_script_database_own_query_t asked = ask(query);
    holdfast_script_database_error_t error;
    bool done = holdfast_script_database_method_database_delete(
        hf_contract(database), holdfast_script_database_borrow_query(asked), keys, &error);
    holdfast_script_database_query_drop_own(asked);
    return answered(database, done, &error);
}

/* ---- the export ----------------------------------------------------------------------------------------------- */

bool exports_holdfast_script_run_run(
    exports_holdfast_script_run_borrow_database_t database, script_list_tuple2_string_string_t *facts, script_string_t *config,
    exports_holdfast_script_run_report_t *given, exports_holdfast_script_run_error_t *error) {
    subject subject = {
        .face = {
            .source = {.next = next, .close = close},
            .status = status, .get = get, .count = count, .open = open, .put = put, .delete_keys = delete_keys,
        },
        .handle = database,
    };
    hf_context context = take_context(facts);
    hf_report report;
    memset(&report, 0, sizeof report);
    hf_run(&subject.face, &context, hf_json_parse(taken(*config)), &report);
    /* Dropped before the call ends, as the contract asks. */
    holdfast_script_database_database_drop_borrow(database);

    if (hf_is_broken(&subject.face) && report.error_code.len == 0) {
        hf_give_up(&report, "database", "the database cannot be asked (%.*s): %.*s", HF_ARG(subject.face.source.error_code),
            HF_ARG(subject.face.source.error_message));
    }
    return give_report(&report, given, error);
}
