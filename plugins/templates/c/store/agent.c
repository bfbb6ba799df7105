/* The plugin's face to the agent: the contract's exports, made of `hf_plugin` and the calls of a store. Native tests leave this file out. */
#include "bindings/plugin.h"
#include "holdfast_store.h"

#include <stdlib.h>

/* The bindings want the contract linked in; `holdfast plugin component` puts it in instead. */
void __component_type_object_force_link_plugin(void);
void __component_type_object_force_link_plugin(void) {}

typedef plugin_list_tuple2_string_string_t pairs;
typedef exports_holdfast_store_objects_error_t refusal;

static hf_bytes taken(plugin_string_t text) { return (hf_bytes){(const char *)text.ptr, text.len}; }

/* What is returned is freed piece by piece, so each piece is a copy. */
static plugin_string_t give(hf_bytes bytes) {
    plugin_string_t text;
    plugin_string_dup_n(&text, bytes.len > 0 ? bytes.data : "", bytes.len);
    return text;
}

static plugin_list_string_t give_texts(const char *const *texts) {
    size_t len = 0;
    while (texts != NULL && texts[len] != NULL) len++;
    plugin_list_string_t given = {len > 0 ? hf_allocate(len * sizeof *given.ptr) : NULL, len};
    for (size_t i = 0; i < len; i++) given.ptr[i] = give(hf_text(texts[i]));
    return given;
}

/* Adds a pair, if there is something to say. */
static void give_pair(pairs *given, const char *name, hf_bytes value) {
    if (value.len == 0) return;
    given->ptr = realloc(given->ptr, (given->len + 1) * sizeof *given->ptr);
    if (given->ptr == NULL) abort();
    given->ptr[given->len].f0 = give(hf_text(name));
    given->ptr[given->len].f1 = give(value);
    given->len++;
}

void exports_holdfast_store_plugin_describe(exports_holdfast_store_plugin_description_t *description) {
    description->name = give(hf_text(hf_plugin.name));
    description->version = give(hf_text(hf_plugin.version));
    description->summary = give(hf_text(hf_plugin.summary));
    description->config_schema = give(hf_text(hf_plugin.config_schema));
    description->wants = give_texts(hf_plugin.wants);
    description->attributes = (pairs){NULL, 0};
}

static hf_call call(plugin_string_t *config, pairs *context) {
    hf_pair *facts = hf_allocate(context->len * sizeof *facts);
    for (size_t i = 0; i < context->len; i++) facts[i] = (hf_pair){taken(context->ptr[i].f0), taken(context->ptr[i].f1)};
    return (hf_call){hf_json_parse(taken(*config)), facts, context->len};
}

static const hf_failure none = {{"error", 5}, {"", 0}, {"", 0}, {"", 0}};

static bool answer(bool done, const hf_failure *failure, refusal *error) {
    if (done) return true;
    *error = (refusal){give(failure->code), give(failure->message), {NULL, 0}};
    give_pair(&error->attributes, "retry-after", failure->retry_after);
    give_pair(&error->attributes, "until", failure->until);
    return false;
}

/* ---- bodies and sinks ------------------------------------------------------------------------------------------ */

/* A body that broke off, or a sink that nobody reads from. */
static bool broken(const holdfast_store_transfer_error_t *error, hf_failure *failure) {
    *failure = (hf_failure){taken(error->code), taken(error->message), {"", 0}, {"", 0}};
    return false;
}

typedef struct {
    hf_body face;
    holdfast_store_transfer_borrow_body_t handle;
    plugin_list_u8_t lent;
} given_body;

static void give_back(given_body *body) {
    plugin_list_u8_free(&body->lent);
    body->lent = (plugin_list_u8_t){NULL, 0};
}

static bool read_body(hf_body *face, uint32_t max_bytes, hf_bytes *piece, hf_failure *failure) {
    given_body *body = (given_body *)face;
    holdfast_store_transfer_error_t error;
    give_back(body);
    if (!holdfast_store_transfer_method_body_read(body->handle, max_bytes, &body->lent, &error)) {
        body->lent = (plugin_list_u8_t){NULL, 0};
        return broken(&error, failure);
    }
    *piece = (hf_bytes){(const char *)body->lent.ptr, body->lent.len};
    return true;
}

static bool size_of_body(hf_body *face, uint64_t *size) {
    return holdfast_store_transfer_method_body_size_bytes(((given_body *)face)->handle, size);
}

typedef struct {
    hf_sink face;
    holdfast_store_transfer_borrow_sink_t handle;
} taking_sink;

static bool begin_sink(hf_sink *face, uint64_t size_bytes, hf_bytes tag, hf_failure *failure) {
    holdfast_store_transfer_error_t error;
    plugin_string_t text = {(uint8_t *)tag.data, tag.len};
    return holdfast_store_transfer_method_sink_begin(((taking_sink *)face)->handle, size_bytes, &text, &error) || broken(&error, failure);
}

static bool write_sink(hf_sink *face, hf_bytes bytes, hf_failure *failure) {
    holdfast_store_transfer_error_t error;
    plugin_list_u8_t piece = {(uint8_t *)bytes.data, bytes.len};
    return holdfast_store_transfer_method_sink_write(((taking_sink *)face)->handle, &piece, &error) || broken(&error, failure);
}

/* ---- the calls ------------------------------------------------------------------------------------------------- */

static exports_holdfast_store_objects_object_t give_entry(const hf_entry *entry) {
    exports_holdfast_store_objects_object_t given = {
        .path = give(entry->path), .size_bytes = entry->size_bytes, .tag = give(entry->tag),
        .modified = {.is_some = entry->modified != 0, .val = entry->modified},
    };
    give_pair(&given.attributes, "locked-until", entry->locked_until);
    return given;
}

bool exports_holdfast_store_objects_features(plugin_string_t *config, plugin_list_string_t *features, refusal *error) {
    (void)error;
    *features = give_texts(hf_features(hf_json_parse(taken(*config))));
    return true;
}

bool exports_holdfast_store_objects_probe(plugin_string_t *config, pairs *context, refusal *error) {
    hf_call made = call(config, context);
    hf_failure failure = none;
    return answer(hf_probe(&made, &failure), &failure, error);
}

bool exports_holdfast_store_objects_put(plugin_string_t *config, pairs *context, plugin_string_t *path,
    exports_holdfast_store_objects_borrow_body_t body, uint64_t *stored, refusal *error) {
    hf_call made = call(config, context);
    hf_failure failure = none;
    given_body given = {.face = {.read = read_body, .size_bytes = size_of_body}, .handle = body};
    bool done = hf_put(&made, taken(*path), &given.face, stored, &failure);
    give_back(&given);
    /* Dropped before the call ends, as the contract asks. */
    holdfast_store_transfer_body_drop_borrow(body);
    return answer(done, &failure, error);
}

bool exports_holdfast_store_objects_get(plugin_string_t *config, pairs *context, plugin_string_t *path, uint64_t start, uint64_t *end,
    exports_holdfast_store_objects_borrow_sink_t into, refusal *error) {
    hf_call made = call(config, context);
    hf_failure failure = none;
    taking_sink taking = {.face = {.begin = begin_sink, .write = write_sink}, .handle = into};
    bool done = hf_get(&made, taken(*path), start, end != NULL ? *end : UINT64_MAX, &taking.face, &failure);
    holdfast_store_transfer_sink_drop_borrow(into);
    return answer(done, &failure, error);
}

bool exports_holdfast_store_objects_head(plugin_string_t *config, pairs *context, plugin_string_t *path,
    exports_holdfast_store_objects_option_object_t *object, refusal *error) {
    hf_call made = call(config, context);
    hf_failure failure = none;
    hf_entry entry = {0};
    bool done = hf_head(&made, taken(*path), &object->is_some, &entry, &failure);
    if (done && object->is_some) object->val = give_entry(&entry);
    return answer(done, &failure, error);
}

bool exports_holdfast_store_objects_list(plugin_string_t *config, pairs *context, plugin_string_t *prefix, plugin_string_t *after,
    uint32_t limit, exports_holdfast_store_objects_page_t *given, refusal *error) {
    hf_call made = call(config, context);
    hf_failure failure = none;
    hf_page page = {0};
    bool done = hf_list(&made, taken(*prefix), after != NULL ? taken(*after) : hf_text(""), limit, &page, &failure);
    if (!done) return answer(false, &failure, error);
    given->objects.len = page.len;
    given->objects.ptr = page.len > 0 ? hf_allocate(page.len * sizeof *given->objects.ptr) : NULL;
    for (size_t i = 0; i < page.len; i++) given->objects.ptr[i] = give_entry(&page.entries[i]);
    given->next.is_some = page.next.len > 0;
    if (given->next.is_some) given->next.val = give(page.next);
    return true;
}

bool exports_holdfast_store_objects_delete(plugin_string_t *config, pairs *context, plugin_string_t *path, refusal *error) {
    hf_call made = call(config, context);
    hf_failure failure = none;
    return answer(hf_delete(&made, taken(*path), &failure), &failure, error);
}

bool exports_holdfast_store_objects_sweep(plugin_string_t *config, pairs *context, uint64_t age_seconds, uint64_t *swept, refusal *error) {
    hf_call made = call(config, context);
    hf_failure failure = none;
    return answer(hf_sweep(&made, age_seconds, swept, &failure), &failure, error);
}
