/* {{summary}}. */
#include "holdfast_notifier.h"

/* Where the event goes is the operator's to say. */
static const char *const wants[] = {"http = [\"*\"]", "secrets = [\"*\"]", NULL};

const hf_description hf_plugin = {
    .name = "{{name}}",
    .version = "0.1.0",
    .summary = "{{summary}}",
    .wants = wants,
    .config_schema =
        "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"url\"], \"properties\": {"
        "\"url\": {\"type\": \"string\", \"format\": \"uri\", \"description\": \"Where events are posted to.\"},"
        "\"token_secret\": {\"type\": \"string\", \"description\": \"The name of a secret that is sent as a bearer token.\"}"
        "}}",
};

bool hf_notify(const hf_event *event, hf_bytes config, hf_bytes *said, hf_failure *failure) {
    hf_pair headers[] = {{hf_text("content-type"), hf_text("application/cloudevents+json")}, {hf_text("authorization"), hf_text("")}};
    hf_bytes secret = hf_json_text(hf_json_get(config, "token_secret"), ""), token;
    if (secret.len > 0) {
        if (!hf_secret(secret, &token, failure)) return false;
        headers[1].value = hf_format("Bearer %.*s", HF_ARG(token));
    }
    hf_request request = {
        .method = "POST",
        .url = hf_json_text(hf_json_get(config, "url"), ""),
        .headers = headers,
        .headers_len = secret.len > 0 ? 2 : 1,
        .body = event->cloudevent,
    };
    hf_answer answer;
    if (!hf_send(&request, &answer, failure) || !hf_check(&answer, failure)) return false;
    *said = hf_format("answered %d", answer.status);
    return true;
}
