#include "holdfast_notifier.h"

#include <stdio.h>

static int failures = 0;

#define EXPECT(condition)                                                         \
    do {                                                                          \
        if (!(condition)) {                                                       \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            failures++;                                                           \
        }                                                                         \
    } while (0)

/* What stands for the agent: it answers every request alike, and keeps the last one. */
static hf_answer answer;
static hf_request sent;

bool hf_send(const hf_request *request, hf_answer *given, hf_failure *failure) {
    (void)failure;
    sent = *request;
    sent.headers = hf_allocate(request->headers_len * sizeof *sent.headers);
    for (size_t i = 0; i < request->headers_len; i++) ((hf_pair *)sent.headers)[i] = request->headers[i];
    *given = answer;
    return true;
}

bool hf_secret(hf_bytes name, hf_bytes *value, hf_failure *failure) {
    *value = hf_text("opensesame");
    return hf_is(name, "token") || hf_fail(failure, "denied", "`%.*s` is not granted", HF_ARG(name));
}

static bool notify(int status, const char *config, hf_failure *failure) {
    static const hf_pair headers[] = {{{"retry-after", 11}, {"7", 1}}};
    hf_event event = {.kind = hf_text("backup.failed"), .cloudevent = hf_text("{\"specversion\": \"1.0\"}")};
    hf_bytes said;
    answer = (hf_answer){status, headers, 1, {"", 0}};
    return hf_notify(&event, hf_json_parse(hf_text(config)), &said, failure);
}

int main(void) {
    hf_failure failure;
    const char *config = "{\"url\": \"https://events.example.org/hook\", \"token_secret\": \"token\"}";
    EXPECT(notify(202, config, &failure));
    EXPECT(hf_is(sent.body, "{\"specversion\": \"1.0\"}"));
    EXPECT(hf_is(sent.headers[1].value, "Bearer opensesame"));
    EXPECT(!notify(503, config, &failure) && hf_is(failure.code, "unavailable") && hf_is(failure.retry_after, "7"));
    EXPECT(!notify(404, config, &failure) && hf_is(failure.code, "refused"));
    EXPECT(!notify(202, "{\"url\": \"https://a\", \"token_secret\": \"other\"}", &failure) && hf_is(failure.code, "denied"));
    if (failures == 0) puts("ok");
    return failures == 0 ? 0 : 1;
}
