/* What verifiers and scripts have in common: what they are told of the run, and the report that they make. */
#ifndef HOLDFAST_REPORT_H
#define HOLDFAST_REPORT_H

#include "holdfast.h"

/* ---- the run -------------------------------------------------------------------------------------------------- */

/* What is known of the run by name: `cluster`, `backup-id`, `time`, `session`, and what the contract adds. Empty when
 * it is not known. */
typedef struct hf_context hf_context;
hf_bytes hf_context_get(const hf_context *context, const char *name);

/* ---- the report ----------------------------------------------------------------------------------------------- */

typedef enum { HF_INFO, HF_WARNING, HF_ERROR } hf_severity;
typedef enum { HF_PASSED, HF_FAILED, HF_INCONCLUSIVE } hf_outcome;

typedef struct hf_report hf_report;

/* One line that can stand alone: how it stands, and the first thing to look at. */
void hf_summary(hf_report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Something that was found, under a stable code that alerts go by. `key` is what it is about, or NULL. Never a value: values are
 * Secrets. An error makes the report fail. Of each code the first 100 are named, the rest is counted. */
void hf_finding(hf_report *report, hf_severity severity, const char *code, const hf_bytes *key, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* Something could not be checked: without an error elsewhere the report is inconclusive. */
void hf_undecided(hf_report *report, const char *code, const hf_bytes *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* How many findings of a code there were, named or not. */
size_t hf_findings_of(const hf_report *report, const char *code);
/* A number that becomes a metric; with `attribute` one of several of that name. */
void hf_measure(hf_report *report, const char *name, double value, const char *unit);
void hf_measure_of(hf_report *report, const char *name, double value, const char *unit, const char *attribute, hf_bytes of);
/* A verifier's: kept beside the backup, and given back with the next one. `remembers` must be set. */
void hf_remember(hf_report *report, hf_bytes memo);
/* The verifier could not do its work. Code: `config`, `snapshot`, or one of your own. Nothing else is reported then. */
void hf_give_up(hf_report *report, const char *code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- what the agent and the tests make of it ------------------------------------------------------------------- */

struct hf_context {
    const hf_pair *pairs;
    size_t len;
};

typedef struct hf_found {
    hf_severity severity;
    hf_bytes code, message, key;
    bool has_key;
    /* Of a code's `more-findings`. */
    hf_bytes more_of;
    size_t more;
    struct hf_found *next;
} hf_found;

typedef struct hf_number {
    hf_bytes name, unit, attribute, of;
    double value;
    struct hf_number *next;
} hf_number;

typedef struct hf_tally {
    hf_bytes code;
    hf_severity severity;
    size_t seen;
    struct hf_tally *next;
} hf_tally;

struct hf_report {
    hf_bytes summary, memo, error_code, error_message;
    bool undecided;
    hf_found *findings;
    hf_number *numbers;
    hf_tally *tallies;
};

hf_outcome hf_report_outcome(const hf_report *report);
/* The findings as they are reported: errors first, and how many are not named. */
const hf_found *hf_report_findings(hf_report *report);

#endif
