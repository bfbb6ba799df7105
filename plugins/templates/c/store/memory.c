#include "memory.h"

#include <stdio.h>

/* Bytes at once: what holds across small pieces holds across large ones. */
#define PIECE_BYTES 2

static memory_server answering;
hf_request memory_sent;

void memory_answer(memory_server server) { answering = server; }

bool hf_send(const hf_request *request, hf_answer *answer, hf_failure *failure) {
    (void)failure;
    hf_pair *headers = hf_allocate(request->headers_len * sizeof *headers);
    for (size_t i = 0; i < request->headers_len; i++) headers[i] = request->headers[i];
    memory_sent = *request;
    memory_sent.headers = headers;
    *answer = answering(request);
    return true;
}

bool hf_secret(hf_bytes name, hf_bytes *value, hf_failure *failure) {
    (void)value;
    return hf_fail(failure, "denied", "`%.*s` is not granted", HF_ARG(name));
}

static hf_bytes next_piece(hf_bytes *left) {
    hf_bytes piece = {left->data, left->len < PIECE_BYTES ? left->len : PIECE_BYTES};
    *left = (hf_bytes){left->data + piece.len, left->len - piece.len};
    return piece;
}

static hf_bytes joined(hf_bytes one, hf_bytes other) { return hf_format("%.*s%.*s", HF_ARG(one), HF_ARG(other)); }

bool hf_upload(const hf_request *request, hf_body *body, hf_answer *answer, uint64_t *sent, hf_failure *failure) {
    hf_request whole = *request;
    hf_bytes piece;
    whole.body = hf_text("");
    for (;;) {
        if (!body->read(body, 1u << 20, &piece, failure)) return false;
        if (piece.len == 0) break;
        whole.body = joined(whole.body, piece);
    }
    *sent = whole.body.len;
    return hf_send(&whole, answer, failure);
}

struct hf_download {
    hf_bytes left;
};

hf_download *hf_download_begin(const hf_request *request, hf_answer *head, hf_failure *failure) {
    hf_download *download = hf_allocate(sizeof *download);
    hf_send(request, head, failure);
    download->left = head->body;
    return download;
}

bool hf_download_read(hf_download *download, hf_bytes *piece, hf_failure *failure) {
    (void)failure;
    *piece = next_piece(&download->left);
    return true;
}

void hf_download_end(hf_download *download) { (void)download; }

typedef struct {
    hf_body face;
    hf_bytes left;
    bool breaks_off;
} kept_body;

static bool read_body(hf_body *face, uint32_t max_bytes, hf_bytes *piece, hf_failure *failure) {
    (void)max_bytes;
    kept_body *body = (kept_body *)face;
    *piece = next_piece(&body->left);
    return piece->len > 0 || !body->breaks_off || hf_fail(failure, "broken", "the body broke off");
}

static bool no_size(hf_body *face, uint64_t *size) {
    (void)face, (void)size;
    return false;
}

hf_body *memory_body(const char *content, bool breaks_off) {
    kept_body *body = hf_allocate(sizeof *body);
    *body = (kept_body){{read_body, no_size}, hf_text(content), breaks_off};
    return &body->face;
}

static bool begin(hf_sink *face, uint64_t size_bytes, hf_bytes tag, hf_failure *failure) {
    (void)failure;
    memory_sink *sink = (memory_sink *)face;
    sink->size_bytes = size_bytes;
    sink->tag = tag;
    return true;
}

static bool keep(hf_sink *face, hf_bytes bytes, hf_failure *failure) {
    (void)failure;
    memory_sink *sink = (memory_sink *)face;
    sink->content = joined(sink->content, bytes);
    return true;
}

memory_sink *memory_sink_new(void) {
    memory_sink *sink = hf_allocate(sizeof *sink);
    *sink = (memory_sink){.face = {begin, keep}, .tag = hf_text(""), .content = hf_text("")};
    return sink;
}

/* The agent's log, for a test. */
void hf_log(const char *level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", level);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}
