/* {{summary}}.
 *
 * It speaks to a server that takes `PUT` with `If-None-Match: *`, `GET` with `Range`, `HEAD` and `DELETE`, and lists with
 * `GET /?prefix=…&after=…&limit=…`. Put your own in its place. */
#include "holdfast_store.h"

static const char *const wants[] = {"http = [\"https://*\", \"http://*\"]", NULL};

const hf_description hf_plugin = {
    .name = "{{name}}",
    .version = "0.1.0",
    .summary = "{{summary}}",
    .wants = wants,
    .config_schema =
        "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"url\"], \"properties\": {"
        "\"url\": {\"type\": \"string\", \"format\": \"uri\", \"description\": \"Where the objects are.\"}"
        "}}",
};

/* What the server truly does. */
const char *const *hf_features(hf_bytes config) {
    static const char *const features[] = {"atomic", "exclusive", "ranges", NULL};
    (void)config;
    return features;
}

/* A request for a path; paths need no encoding. */
static hf_request request(const hf_call *call, const char *method, hf_bytes path) {
    hf_bytes url = hf_json_text(hf_json_get(call->config, "url"), "");
    while (url.len > 0 && url.data[url.len - 1] == '/') url.len--;
    return (hf_request){.method = method, .url = hf_format("%.*s/%.*s", HF_ARG(url), HF_ARG(path))};
}

static void with_header(hf_request *asked, hf_pair *header, const char *name, hf_bytes value) {
    *header = (hf_pair){hf_text(name), value};
    asked->headers = header;
    asked->headers_len = 1;
}

bool hf_probe(const hf_call *call, hf_failure *failure) {
    hf_page page;
    return hf_list(call, hf_text(""), hf_text(""), 1, &page, failure);
}

bool hf_put(const hf_call *call, hf_bytes path, hf_body *body, uint64_t *stored, hf_failure *failure) {
    hf_request asked = request(call, "PUT", path);
    hf_pair header;
    hf_answer answer;
    with_header(&asked, &header, "if-none-match", hf_text("*"));
    /* Piece by piece: a backup may be larger than this plugin's memory. */
    if (!hf_upload(&asked, body, &answer, stored, failure)) return false;
    if (answer.status == 200 || answer.status == 201 || answer.status == 204) return true;
    return answer.status == 412 ? hf_exists(path, failure) : hf_answered(&answer, failure);
}

/* Hands on `left` bytes of an answer. */
static bool hand_on(hf_download *download, uint64_t left, hf_sink *into, hf_failure *failure) {
    while (left > 0) {
        hf_bytes piece;
        if (!hf_download_read(download, &piece, failure)) return false;
        /* The agent takes it up again where it broke off. */
        if (piece.len == 0) return hf_fail(failure, "unavailable", "the answer ended early");
        left -= piece.len < left ? piece.len : left;
        if (!into->write(into, piece, failure)) return false;
    }
    return true;
}

bool hf_get(const hf_call *call, hf_bytes path, uint64_t start, uint64_t end, hf_sink *into, hf_failure *failure) {
    bool found;
    hf_entry entry;
    if (!hf_head(call, path, &found, &entry, failure)) return false;
    if (!found) return hf_not_found(path, failure);
    if (!into->begin(into, entry.size_bytes, entry.tag, failure)) return false;
    if (end > entry.size_bytes) end = entry.size_bytes;
    if (start >= end) return true;
    hf_request asked = request(call, "GET", path);
    hf_pair header;
    hf_answer head;
    with_header(&asked, &header, "range", hf_format("bytes=%llu-%llu", (unsigned long long)start, (unsigned long long)end - 1));
    hf_download *download = hf_download_begin(&asked, &head, failure);
    if (download == NULL) return false;
    bool done = head.status == 206 ? hand_on(download, end - start, into, failure) : hf_answered(&head, failure);
    hf_download_end(download);
    return done;
}

/* Decimal digits, and nothing else. */
static bool number(hf_bytes text, uint64_t *value) {
    *value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        if (__builtin_mul_overflow(*value, 10, value) || __builtin_add_overflow(*value, (uint64_t)(text.data[i] - '0'), value)) return false;
    }
    return text.len > 0;
}

bool hf_head(const hf_call *call, hf_bytes path, bool *found, hf_entry *entry, hf_failure *failure) {
    hf_request asked = request(call, "HEAD", path);
    hf_answer answer;
    *found = false;
    *entry = (hf_entry){.path = path};
    if (!hf_send(&asked, &answer, failure)) return false;
    if (answer.status == 404) return true;
    if (answer.status != 200) return hf_answered(&answer, failure);
    if (!number(hf_header(&answer, "content-length"), &entry->size_bytes)) return hf_fail(failure, "server", "it does not tell a size");
    entry->tag = hf_header(&answer, "etag");
    *found = true;
    return true;
}

bool hf_list(const hf_call *call, hf_bytes prefix, hf_bytes after, uint32_t limit, hf_page *page, hf_failure *failure) {
    hf_bytes query = hf_format("?prefix=%.*s&after=%.*s&limit=%u", HF_ARG(prefix), HF_ARG(after), limit);
    hf_request asked = request(call, "GET", query);
    hf_answer answer;
    if (!hf_send(&asked, &answer, failure)) return false;
    if (answer.status != 200) return hf_answered(&answer, failure);
    hf_bytes listed = hf_json_parse(answer.body), objects = hf_json_get(listed, "objects");
    if (objects.len == 0 || objects.data[0] != '[') return hf_fail(failure, "server", "it answers with something that is no listing");
    *page = (hf_page){.entries = hf_allocate(limit * sizeof *page->entries), .next = hf_json_text(hf_json_get(listed, "next"), "")};
    hf_bytes rest = hf_json_items(objects), object;
    while (hf_json_next(&rest, NULL, &object)) {
        if (page->len == limit) return hf_fail(failure, "server", "it lists more than it was asked for");
        int64_t size = hf_json_integer(hf_json_get(object, "size_bytes"), -1);
        if (size < 0) return hf_fail(failure, "server", "it lists an object without its size");
        page->entries[page->len++] = (hf_entry){.path = hf_json_text(hf_json_get(object, "path"), ""), .size_bytes = (uint64_t)size};
    }
    return true;
}

bool hf_delete(const hf_call *call, hf_bytes path, hf_failure *failure) {
    hf_request asked = request(call, "DELETE", path);
    hf_answer answer;
    if (!hf_send(&asked, &answer, failure)) return false;
    return answer.status == 404 || (answer.status >= 200 && answer.status < 300) || hf_answered(&answer, failure);
}

bool hf_sweep(const hf_call *call, uint64_t age_seconds, uint64_t *swept, hf_failure *failure) {
    (void)call, (void)age_seconds, (void)failure;
    *swept = 0;
    return true;
}
