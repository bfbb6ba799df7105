/* What the faces of verifiers and scripts have in common: texts, the log, what the plugin says of itself, the report. Who includes it has said
 * what the bindings call their types: AGENT(..) those of the world, PLUGIN(..) and CALL(..) those of its two exports. */
#include "holdfast_report.h"

#include <stdlib.h>
#include <string.h>

static AGENT(string_t) lend_text(const char *text) { return (AGENT(string_t)){(uint8_t *)text, strlen(text)}; }
static AGENT(list_u8_t) lend(hf_bytes bytes) { return (AGENT(list_u8_t)){(uint8_t *)bytes.data, bytes.len}; }
static hf_bytes taken(AGENT(string_t) text) { return (hf_bytes){(const char *)text.ptr, text.len}; }

/* What is returned is freed piece by piece, so each piece is a copy. */
static AGENT(string_t) give(hf_bytes bytes) {
    AGENT(string_t) text;
    AGENT(string_dup_n)(&text, bytes.len > 0 ? bytes.data : "", bytes.len);
    return text;
}

static AGENT(list_tuple2_string_string_t) give_pairs(size_t len) {
    return (AGENT(list_tuple2_string_string_t)){len > 0 ? hf_allocate(len * sizeof(AGENT(tuple2_string_string_t))) : NULL, len};
}

static hf_context take_context(const AGENT(list_tuple2_string_string_t) *facts) {
    hf_pair *pairs = hf_allocate(facts->len * sizeof *pairs);
    for (size_t i = 0; i < facts->len; i++) pairs[i] = (hf_pair){taken(facts->ptr[i].f0), taken(facts->ptr[i].f1)};
    return (hf_context){pairs, facts->len};
}

void hf_log(const char *level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    hf_bytes line = hf_format_list(format, arguments);
    va_end(arguments);
    AGENT(string_t) weight = lend_text(level), message = {(uint8_t *)line.data, line.len};
    holdfast_host_log_write(&weight, &message);
    free((void *)line.data);
}

void PLUGIN(describe)(PLUGIN(description_t) *description) {
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

static void give_finding(CALL(finding_t) *given, const hf_found *found) {
    static const char *const severities[] = {"info", "warning", "error"};
    given->severity = give(hf_text(severities[found->severity]));
    given->code = give(found->code);
    given->message = give(found->message);
    given->key.is_some = found->has_key;
    if (found->has_key) {
        AGENT(string_t) key = give(found->key);
        given->key.val = (AGENT(list_u8_t)){key.ptr, key.len};
    }
    given->attributes = give_pairs(found->more > 0 ? 2 : 0);
    if (found->more > 0) {
        given->attributes.ptr[0].f0 = give(hf_text("of"));
        given->attributes.ptr[0].f1 = give(found->more_of);
        given->attributes.ptr[1].f0 = give(hf_text("count"));
        given->attributes.ptr[1].f1 = give(hf_format("%zu", found->more));
    }
}

static void give_measurement(CALL(measurement_t) *given, const hf_number *number) {
    given->name = give(number->name);
    given->value = number->value;
    given->unit = give(number->unit);
    given->attributes = give_pairs(number->attribute.len > 0 ? 1 : 0);
    if (number->attribute.len > 0) {
        given->attributes.ptr[0].f0 = give(number->attribute);
        given->attributes.ptr[0].f1 = give(number->of);
    }
}

static bool give_report(hf_report *report, CALL(report_t) *given, CALL(error_t) *error) {
    if (report->error_code.len > 0) {
        error->code = give(report->error_code);
        error->message = give(report->error_message);
        return false;
    }
    const hf_found *findings = hf_report_findings(report);
    size_t found = 0, measured = 0;
    for (const hf_found *each = findings; each != NULL; each = each->next) found++;
    for (const hf_number *each = report->numbers; each != NULL; each = each->next) measured++;
    given->outcome = (CALL(outcome_t))hf_report_outcome(report);
    given->summary = give(report->summary);
    given->findings.len = found;
    given->findings.ptr = found > 0 ? hf_allocate(found * sizeof *given->findings.ptr) : NULL;
    given->measurements.len = measured;
    given->measurements.ptr = measured > 0 ? hf_allocate(measured * sizeof *given->measurements.ptr) : NULL;
    for (size_t i = 0; i < found; i++, findings = findings->next) give_finding(&given->findings.ptr[i], findings);
    const hf_number *number = report->numbers;
    for (size_t i = 0; i < measured; i++, number = number->next) give_measurement(&given->measurements.ptr[i], number);
    given->attributes = give_pairs(report->memo.len > 0 ? 1 : 0);
    if (report->memo.len > 0) {
        given->attributes.ptr[0].f0 = give(hf_text("memo"));
        given->attributes.ptr[0].f1 = give(report->memo);
    }
    return true;
}
