/* {{summary}}. */
#include "holdfast_script.h"

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

void hf_run(hf_database *database, const hf_context *context, hf_bytes config, hf_report *report) {
    (void)context;
    hf_bytes prefix = hf_json_text(hf_json_get(config, "prefix"), "");
    int64_t at_least = hf_json_integer(hf_json_get(config, "at_least"), 1);

    hf_query query = {.prefix = prefix};
    uint64_t keys = hf_count(database, &query);
    if (at_least > 0 && keys < (uint64_t)at_least) {
        hf_finding(report, HF_ERROR, "too-few", NULL, "%llu keys begin with `%.*s`, fewer than %lld", (unsigned long long)keys,
            HF_ARG(prefix), (long long)at_least);
    }

    hf_bytes key = hf_text("/{{name}}/trial");
    hf_row row;
    hf_put(database, key, hf_text("written"), 0);
    bool is_written = hf_get(database, key, &row) && hf_is(row.value, "written");
    if (!is_written) hf_finding(report, HF_ERROR, "not-written", &key, "a key is not read as it was written");
    hf_summary(report, "%llu keys begin with `%.*s`%s", (unsigned long long)keys, HF_ARG(prefix), is_written ? ", and more can be written" : "");
    hf_measure(report, "keys", (double)keys, "keys");
}
