/* Checks that Secrets, and whatever else is to be, are encrypted at rest. */
#include "holdfast_verifier.h"

const hf_description hf_plugin = {
    .name = "encryption-at-rest",
    .version = "0.1.0",
    .summary = "Checks that Secrets are encrypted at rest",
    .config_schema =
        "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
        "\"resources\": {\"type\": \"array\", \"items\": {\"type\": \"string\", \"minLength\": 1}, \"default\": [\"secrets\"],"
        " \"description\": \"What is to be encrypted, as it is stored below the prefix.\"},"
        "\"sealed_by\": {\"type\": \"string\", \"pattern\": \"^[^:]+:[^:]+:.+$\","
        " \"description\": \"Provider, version and key that everything is to be encrypted by: aescbc:v1:key-2026.\"},"
        "\"prefix\": {\"type\": \"string\", \"default\": \"/registry\", \"description\": \"Where the API server keeps its objects.\"}"
        "}}",
};

/* Names what is not as it is to be. Values are read for this alone: most often there is nothing to name. */
static void name_them(hf_snapshot *snapshot, hf_bytes prefix, hf_bytes seal, hf_report *report) {
    hf_query query = {.prefix = prefix, .columns = HF_KEYS_AND_VALUES};
    hf_rows *rows = hf_scan(snapshot, &query);
    hf_row row;
    while (hf_next(rows, &row)) {
        hf_object object;
        switch (hf_object_parse(row.value, &object)) {
            case HF_STORED_ENCRYPTED:
                if (!hf_starts_with(row.value, seal.data)) {
                    hf_finding(report, HF_ERROR, "other-key", &row.key, "encrypted by `%.*s` with the key `%.*s`", HF_ARG(object.provider),
                        HF_ARG(object.key_name));
                }
                break;
            case HF_STORED_BROKEN:
                hf_finding(report, HF_ERROR, "broken", &row.key, "it begins as an encrypted value or an object does, and is neither");
                break;
            default:
                hf_finding(report, HF_ERROR, "plain", &row.key, "not encrypted at rest");
        }
    }
}

static void check(hf_snapshot *snapshot, hf_bytes resource, hf_bytes root, hf_bytes seal, hf_report *report, uint64_t *objects) {
    hf_bytes prefix = hf_format("%.*s/%.*s/", HF_ARG(root), HF_ARG(resource));
    hf_query all = {.prefix = prefix}, sealed = {.prefix = prefix, .value_prefix = seal};
    uint64_t found = hf_count(snapshot, &all).keys, good = hf_count(snapshot, &sealed).keys;
    if (good < found) name_them(snapshot, prefix, seal, report);
    hf_measure_of(report, "objects", (double)found, "objects", "resource", resource);
    hf_measure_of(report, "not_sealed", (double)(found - good), "objects", "resource", resource);
    *objects += found;
}

void hf_verify(hf_snapshot *snapshot, const hf_context *context, hf_bytes config, hf_report *report) {
    (void)context;
    hf_bytes root = hf_json_text(hf_json_get(config, "prefix"), "/registry");
    hf_bytes by = hf_json_text(hf_json_get(config, "sealed_by"), "");
    hf_bytes seal = by.len > 0 ? hf_format("k8s:enc:%.*s:", HF_ARG(by)) : hf_text("k8s:enc:");
    while (root.len > 0 && root.data[root.len - 1] == '/') root.len--;

    hf_bytes resources = hf_json_get(config, "resources"), items = hf_json_items(resources), item;
    uint64_t objects = 0;
    if (resources.len == 0) check(snapshot, hf_text("secrets"), root, seal, report, &objects);
    while (hf_json_next(&items, NULL, &item)) check(snapshot, hf_json_text(item, ""), root, seal, report, &objects);

    if (objects == 0) {
        hf_undecided(report, "nothing-there", NULL, "there are no such objects in the snapshot");
        hf_summary(report, "there is nothing that would be encrypted");
        return;
    }
    size_t wrong = hf_findings_of(report, "plain") + hf_findings_of(report, "other-key") + hf_findings_of(report, "broken");
    hf_summary(report, "%zu of %llu objects are not encrypted as they should be", wrong, (unsigned long long)objects);
}
