#include "holdfast_report.h"

/* ---- the run -------------------------------------------------------------------------------------------------- */

hf_bytes hf_context_get(const hf_context *context, const char *name) {
    for (size_t i = 0; i < context->len; i++) {
        if (hf_is(context->pairs[i].name, name)) return context->pairs[i].value;
    }
    return (hf_bytes){"", 0};
}

/* ---- the report ----------------------------------------------------------------------------------------------- */

/* A damaged snapshot can break a rule a million times. */
#define NAMED_OF_A_CODE 100

void hf_summary(hf_report *report, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    report->summary = hf_format_list(format, arguments);
    va_end(arguments);
}

static hf_found *append_finding(hf_found **chain, hf_severity severity, hf_bytes code, hf_bytes message) {
    while (*chain != NULL) chain = &(*chain)->next;
    hf_found *found = *chain = hf_allocate(sizeof **chain);
    found->severity = severity;
    found->code = code;
    found->message = message;
    return found;
}

static void add(hf_report *report, hf_severity severity, const char *code, const hf_bytes *key, const char *format, va_list arguments) {
    hf_tally **tally = &report->tallies;
    while (*tally != NULL && !((*tally)->severity == severity && hf_is((*tally)->code, code))) tally = &(*tally)->next;
    if (*tally == NULL) {
        *tally = hf_allocate(sizeof **tally);
        (*tally)->code = hf_copy(hf_text(code));
        (*tally)->severity = severity;
    }
    if ((*tally)->seen++ >= NAMED_OF_A_CODE) return;
    hf_found *found = append_finding(&report->findings, severity, (*tally)->code, hf_format_list(format, arguments));
    found->has_key = key != NULL;
    if (key != NULL) found->key = hf_copy(*key);
}

void hf_finding(hf_report *report, hf_severity severity, const char *code, const hf_bytes *key, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    add(report, severity, code, key, format, arguments);
    va_end(arguments);
}

void hf_undecided(hf_report *report, const char *code, const hf_bytes *key, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    report->undecided = true;
    add(report, HF_WARNING, code, key, format, arguments);
    va_end(arguments);
}

size_t hf_findings_of(const hf_report *report, const char *code) {
    size_t seen = 0;
    for (const hf_tally *tally = report->tallies; tally != NULL; tally = tally->next) {
        if (hf_is(tally->code, code)) seen += tally->seen;
    }
    return seen;
}

hf_outcome hf_report_outcome(const hf_report *report) {
    for (const hf_tally *tally = report->tallies; tally != NULL; tally = tally->next) {
        if (tally->severity == HF_ERROR) return HF_FAILED;
    }
    return report->undecided ? HF_INCONCLUSIVE : HF_PASSED;
}

const hf_found *hf_report_findings(hf_report *report) {
    hf_found *sorted = NULL, **end = &sorted;
    for (int severity = HF_ERROR; severity >= HF_INFO; severity--) {
        for (const hf_found *found = report->findings; found != NULL; found = found->next) {
            if ((int)found->severity != severity) continue;
            *end = hf_allocate(sizeof **end);
            **end = *found;
            (*end)->next = NULL;
            end = &(*end)->next;
        }
    }
    for (const hf_tally *tally = report->tallies; tally != NULL; tally = tally->next) {
        if (tally->seen <= NAMED_OF_A_CODE) continue;
        size_t more = tally->seen - NAMED_OF_A_CODE;
        hf_bytes message = hf_format("%zu more of `%.*s` are not listed", more, HF_ARG(tally->code));
        hf_found *found = append_finding(end, tally->severity, hf_text("more-findings"), message);
        found->more_of = tally->code;
        found->more = more;
    }
    return sorted;
}

void hf_measure_of(hf_report *report, const char *name, double value, const char *unit, const char *attribute, hf_bytes of) {
    hf_number **chain = &report->numbers;
    while (*chain != NULL) chain = &(*chain)->next;
    *chain = hf_allocate(sizeof **chain);
    **chain = (hf_number){hf_text(name), hf_text(unit), hf_text(attribute), hf_copy(of), value, NULL};
}

void hf_measure(hf_report *report, const char *name, double value, const char *unit) {
    hf_measure_of(report, name, value, unit, "", (hf_bytes){"", 0});
}

void hf_remember(hf_report *report, hf_bytes memo) { report->memo = hf_copy(memo); }

void hf_give_up(hf_report *report, const char *code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    report->error_code = hf_text(code);
    report->error_message = hf_format_list(format, arguments);
    va_end(arguments);
}
