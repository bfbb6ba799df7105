/* {{summary}}. */
#include "holdfast_verifier.h"

const hf_description hf_plugin = {
    .name = "{{name}}",
    .version = "0.1.0",
    .summary = "{{summary}}",
    .config_schema =
        "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"prefix\"], \"properties\": {"
        "\"prefix\": {\"type\": \"string\", \"description\": \"How the keys begin that are counted.\"},"
        "\"at_least\": {\"type\": \"integer\", \"minimum\": 0, \"default\": 1, \"description\": \"How many of them there must be.\"}"
        "}}",
};

void hf_verify(hf_snapshot *snapshot, const hf_context *context, hf_bytes config, hf_report *report) {
    (void)context;
    hf_bytes prefix = hf_json_text(hf_json_get(config, "prefix"), "");
    int64_t at_least = hf_json_integer(hf_json_get(config, "at_least"), 1);

    /* The agent counts; no row crosses over. To look at rows, see `hf_scan`. */
    hf_query query = {.prefix = prefix};
    uint64_t found = hf_count(snapshot, &query).keys;
    if (at_least > 0 && found < (uint64_t)at_least) {
        hf_finding(report, HF_ERROR, "too-few", NULL, "%llu keys begin with `%.*s`, fewer than %lld", (unsigned long long)found,
            HF_ARG(prefix), (long long)at_least);
    }
    hf_summary(report, "%llu keys begin with `%.*s`", (unsigned long long)found, HF_ARG(prefix));
    hf_measure(report, "keys", (double)found, "keys");
}
