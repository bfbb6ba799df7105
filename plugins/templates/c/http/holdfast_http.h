/* HTTP through the agent's own sender: to what is granted (`allow = { http = [...] }`) and wanted, with TLS and proxies as the operator has
 * them. No redirect is followed. And secrets, which are granted by name. */
#ifndef HOLDFAST_HTTP_H
#define HOLDFAST_HTTP_H

#include "holdfast.h"

/* The longest answer that is taken. */
#define HF_MOST_BYTES (1u << 20)

typedef struct {
    const char *method;
    hf_bytes url;
    const hf_pair *headers;
    size_t headers_len;
    hf_bytes body;
    /* How long to wait for the connection, for the answer, and between its parts; 0 for 15. */
    uint64_t patience_seconds;
} hf_request;

/* Names of headers are in lower case. */
typedef struct {
    int status;
    const hf_pair *headers;
    size_t headers_len;
    hf_bytes body;
} hf_answer;

/* Why something was not done. Code: `config` and `refused` are final, `unavailable` and others are tried again. */
typedef struct {
    hf_bytes code, message;
    /* Seconds to wait at least, as the far end asks for; empty when it does not. */
    hf_bytes retry_after;
    /* Of a store's `locked`: until when, RFC 3339. */
    hf_bytes until;
} hf_failure;

/* False when there is no answer, and why. */
bool hf_send(const hf_request *request, hf_answer *answer, hf_failure *failure);
/* The value of a header; empty when there is none. */
hf_bytes hf_header(const hf_answer *answer, const char *name);
/* Is it an answer of success? Of others it makes what the agent knows. */
bool hf_check(const hf_answer *answer, hf_failure *failure);
/* The value of a secret. */
bool hf_secret(hf_bytes name, hf_bytes *value, hf_failure *failure);
/* Always false, so that it can be returned. */
bool hf_fail(hf_failure *failure, const char *code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A URL taken apart; false when it is none for HTTP. */
typedef struct {
    bool is_secure;
    /* Host and port; path and query, at least `/`. */
    hf_bytes authority, path;
} hf_url;
bool hf_url_parse(hf_bytes url, hf_url *parsed);

#endif
