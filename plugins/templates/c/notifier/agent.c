/* The plugin's face to the agent: the contract's exports, made of `hf_plugin` and `hf_notify`. Native tests leave this file out. */
#include "bindings/plugin.h"
#include "holdfast_notifier.h"

/* The bindings want the contract linked in; `holdfast plugin component` puts it in instead. */
void __component_type_object_force_link_plugin(void);
void __component_type_object_force_link_plugin(void) {}

static hf_bytes taken(plugin_string_t text) { return (hf_bytes){(const char *)text.ptr, text.len}; }

/* What is returned is freed piece by piece, so each piece is a copy. */
static plugin_string_t give(hf_bytes bytes) {
    plugin_string_t text;
    plugin_string_dup_n(&text, bytes.len > 0 ? bytes.data : "", bytes.len);
    return text;
}

void exports_holdfast_notifier_plugin_describe(exports_holdfast_notifier_plugin_description_t *description) {
    size_t wants = 0;
    while (hf_plugin.wants != NULL && hf_plugin.wants[wants] != NULL) wants++;
    description->name = give(hf_text(hf_plugin.name));
    description->version = give(hf_text(hf_plugin.version));
    description->summary = give(hf_text(hf_plugin.summary));
    description->config_schema = give(hf_text(hf_plugin.config_schema));
    description->wants.ptr = wants > 0 ? hf_allocate(wants * sizeof *description->wants.ptr) : NULL;
    description->wants.len = wants;
    for (size_t i = 0; i < wants; i++) description->wants.ptr[i] = give(hf_text(hf_plugin.wants[i]));
    description->attributes = (plugin_list_tuple2_string_string_t){NULL, 0};
}

hf_bytes hf_attribute(const hf_event *event, const char *name) {
    for (size_t i = 0; i < event->attributes_len; i++) {
        if (hf_is(event->attributes[i].name, name)) return event->attributes[i].value;
    }
    return (hf_bytes){"", 0};
}

bool exports_holdfast_notifier_notify_notify(
    exports_holdfast_notifier_notify_event_t *told, plugin_string_t *config, exports_holdfast_notifier_notify_receipt_t *receipt,
    exports_holdfast_notifier_notify_error_t *error) {
    hf_pair *attributes = hf_allocate(told->attributes.len * sizeof *attributes);
    for (size_t i = 0; i < told->attributes.len; i++) {
        attributes[i] = (hf_pair){taken(told->attributes.ptr[i].f0), taken(told->attributes.ptr[i].f1)};
    }
    hf_event event = {
        .id = taken(told->id), .time = taken(told->time), .kind = taken(told->kind), .severity = taken(told->severity),
        .summary = taken(told->summary), .cluster = taken(told->cluster), .cloudevent = taken(told->cloudevent),
        .attributes = attributes, .attributes_len = told->attributes.len,
    };
    hf_bytes said = {"", 0};
    hf_failure failure = {{"error", 5}, {"", 0}, {"", 0}, {"", 0}};
    if (hf_notify(&event, hf_json_parse(taken(*config)), &said, &failure)) {
        receipt->summary = give(said);
        receipt->attributes = (plugin_list_tuple2_string_string_t){NULL, 0};
        return true;
    }
    bool pauses = failure.retry_after.len > 0;
    error->code = give(failure.code);
    error->message = give(failure.message);
    error->attributes = (plugin_list_tuple2_string_string_t){pauses ? hf_allocate(sizeof *error->attributes.ptr) : NULL, pauses ? 1 : 0};
    if (pauses) {
        error->attributes.ptr[0].f0 = give(hf_text("retry-after"));
        error->attributes.ptr[0].f1 = give(failure.retry_after);
    }
    return false;
}
