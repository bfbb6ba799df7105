#include "holdfast_store.h"

hf_bytes hf_fact(const hf_call *call, const char *name) {
    for (size_t i = 0; i < call->facts_len; i++) {
        if (hf_is(call->facts[i].name, name)) return call->facts[i].value;
    }
    return (hf_bytes){"", 0};
}

bool hf_not_found(hf_bytes path, hf_failure *failure) { return hf_fail(failure, "not-found", "there is no `%.*s`", HF_ARG(path)); }

bool hf_exists(hf_bytes path, hf_failure *failure) { return hf_fail(failure, "exists", "`%.*s` is there already", HF_ARG(path)); }

/* How much of a server's own words is shown. */
#define SAID_BYTES 300

bool hf_answered(const hf_answer *answer, hf_failure *failure) {
    int status = answer->status;
    if (status >= 300 && status < 400) {
        hf_bytes to = hf_header(answer, "location");
        return hf_fail(failure, "config", "the server answers %d and leads to `%.*s`: name that address", status, HF_ARG(to));
    }
    const char *code = "http";
    switch (status) {
        case 401: case 403: case 407: code = "denied"; break;
        case 507: code = "full"; break;
        case 408: case 423: case 425: case 429: case 500: case 502: case 503: case 504: code = "unavailable"; break;
        default: break;
    }
    /* In the middle of a character it may end: words of the server are only shown when they are plain. */
    hf_bytes said = {answer->body.data, answer->body.len < SAID_BYTES ? answer->body.len : SAID_BYTES};
    while (said.len > 0 && (said.data[said.len - 1] == '\n' || said.data[said.len - 1] == '\r')) said.len--;
    for (size_t i = 0; i < said.len; i++) {
        if (said.data[i] < 0x20 || said.data[i] > 0x7e) said.len = 0;
    }
    hf_fail(failure, code, "the server answers %d%s%.*s", status, said.len > 0 ? ": " : "", HF_ARG(said));
    hf_bytes pause = hf_header(answer, "retry-after");
    bool is_number = pause.len > 0 && pause.len < 10 && hf_is(failure->code, "unavailable");
    for (size_t i = 0; i < pause.len && is_number; i++) is_number = pause.data[i] >= '0' && pause.data[i] <= '9';
    if (is_number) failure->retry_after = pause;
    return false;
}
