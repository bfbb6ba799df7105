#include "holdfast_http.h"

#include <string.h>

bool hf_fail(hf_failure *failure, const char *code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    *failure = (hf_failure){hf_text(code), hf_format_list(format, arguments), {"", 0}, {"", 0}};
    va_end(arguments);
    return false;
}

hf_bytes hf_header(const hf_answer *answer, const char *name) {
    for (size_t i = 0; i < answer->headers_len; i++) {
        if (hf_is(answer->headers[i].name, name)) return answer->headers[i].value;
    }
    return (hf_bytes){"", 0};
}

bool hf_check(const hf_answer *answer, hf_failure *failure) {
    if (answer->status >= 200 && answer->status < 300) return true;
    bool later = answer->status == 408 || answer->status == 429 || answer->status >= 500;
    hf_fail(failure, later ? "unavailable" : "refused", "it answered %d", answer->status);
    hf_bytes pause = hf_header(answer, "retry-after");
    bool is_number = pause.len > 0 && pause.len < 10;
    for (size_t i = 0; i < pause.len && is_number; i++) is_number = pause.data[i] >= '0' && pause.data[i] <= '9';
    if (is_number) failure->retry_after = pause;
    return false;
}

bool hf_url_parse(hf_bytes url, hf_url *parsed) {
    size_t head = hf_starts_with(url, "https://") ? 8 : hf_starts_with(url, "http://") ? 7 : 0;
    if (head == 0) return false;
    parsed->is_secure = head == 8;
    hf_bytes rest = {url.data + head, url.len - head};
    size_t len = 0;
    while (len < rest.len && rest.data[len] != '/' && rest.data[len] != '?' && rest.data[len] != '#') len++;
    parsed->authority = (hf_bytes){rest.data, len};
    rest = (hf_bytes){rest.data + len, rest.len - len};
    size_t end = 0;
    while (end < rest.len && rest.data[end] != '#') end++;
    bool has_path = end > 0 && rest.data[0] == '/';
    parsed->path = has_path ? (hf_bytes){rest.data, end} : hf_format("/%.*s", (int)end, rest.data);
    return len > 0;
}
