#include "memory.h"

#include <stdio.h>

static int failures = 0;

#define EXPECT(condition)                                                         \
    do {                                                                          \
        if (!(condition)) {                                                       \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            failures++;                                                           \
        }                                                                         \
    } while (0)

/* What the server answers to a HEAD, and to everything else. */
static const hf_pair head[] = {{{"content-length", 14}, {"10", 2}}, {{"etag", 4}, {"7", 1}}};
static hf_answer other;

static hf_answer serve(const hf_request *request) {
    return hf_is(hf_text(request->method), "HEAD") ? (hf_answer){200, head, 2, {"", 0}} : other;
}

static void answer(int status, const char *body) { other = (hf_answer){status, NULL, 0, hf_text(body)}; }

static void objects_are_stored_once(const hf_call *call) {
    hf_failure failure;
    uint64_t stored = 0;
    answer(201, "");
    EXPECT(hf_put(call, hf_text("data/a"), memory_body("hello", false), &stored, &failure) && stored == 5);
    EXPECT(hf_is(memory_sent.url, "https://objects.example.org/etcd/data/a") && hf_is(memory_sent.body, "hello"));
    EXPECT(hf_is(memory_sent.headers[0].name, "if-none-match") && hf_is(memory_sent.headers[0].value, "*"));
    EXPECT(!hf_put(call, hf_text("data/a"), memory_body("hello", true), &stored, &failure) && hf_is(failure.code, "broken"));
    answer(412, "");
    EXPECT(!hf_put(call, hf_text("data/a"), memory_body("hello", false), &stored, &failure) && hf_is(failure.code, "exists"));
}

static void ranges_are_handed_on(const hf_call *call) {
    hf_failure failure;
    memory_sink *sink = memory_sink_new();
    answer(206, "cde");
    EXPECT(hf_get(call, hf_text("data/a"), 2, 5, &sink->face, &failure));
    EXPECT(sink->size_bytes == 10 && hf_is(sink->tag, "7") && hf_is(sink->content, "cde"));
    EXPECT(hf_is(memory_sent.headers[0].value, "bytes=2-4"));
    answer(206, "c");
    EXPECT(!hf_get(call, hf_text("data/a"), 2, 5, &sink->face, &failure) && hf_is(failure.code, "unavailable"));
}

static void what_the_server_refuses_is_told(const hf_call *call) {
    static const struct {
        int status;
        const char *code;
    } cases[] = {{503, "unavailable"}, {403, "denied"}, {507, "full"}, {301, "config"}, {418, "http"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hf_failure failure;
        answer(cases[i].status, "");
        EXPECT(!hf_delete(call, hf_text("data/a"), &failure) && hf_is(failure.code, cases[i].code));
    }
}

static void listings_go_on(const hf_call *call) {
    hf_failure failure;
    hf_page page;
    answer(200, "{\"objects\": [{\"path\": \"a\", \"size_bytes\": 1}], \"next\": \"a\"}");
    EXPECT(hf_list(call, hf_text(""), hf_text(""), 1, &page, &failure));
    EXPECT(page.len == 1 && hf_is(page.entries[0].path, "a") && page.entries[0].size_bytes == 1 && hf_is(page.next, "a"));
    answer(200, "<html>");
    EXPECT(!hf_list(call, hf_text(""), hf_text(""), 1, &page, &failure) && hf_is(failure.code, "server"));
}

int main(void) {
    hf_call call = {.config = hf_json_parse(hf_text("{\"url\": \"https://objects.example.org/etcd/\"}"))};
    memory_answer(serve);
    objects_are_stored_once(&call);
    ranges_are_handed_on(&call);
    what_the_server_refuses_is_told(&call);
    listings_go_on(&call);
    if (failures == 0) puts("ok");
    return failures == 0 ? 0 : 1;
}
