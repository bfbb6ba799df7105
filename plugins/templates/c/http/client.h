/* What an exchange is made of, whole or piece by piece. */
#ifndef CLIENT_H
#define CLIENT_H

#include "bindings/plugin.h"
#include "holdfast_http.h"

#define READ_BYTES (1u << 18)

/* A request on its way: its body, and what becomes the answer. */
typedef struct {
    wasi_http_types_own_outgoing_body_t body;
    wasi_http_outgoing_handler_own_future_incoming_response_t pending;
} client_exchange;

/* The body of an answer on its way. */
typedef struct {
    wasi_http_types_own_incoming_body_t body;
    wasi_http_types_own_input_stream_t stream;
} client_content;

/* Sends a request's head. The body is to be written, and then finished, or dropped, which breaks off the request. */
bool client_begin(const hf_request *request, client_exchange *exchange, hf_failure *failure);
bool client_finish(client_exchange *exchange);
/* Waits for the head of the answer. The exchange is over. */
bool client_answered(const hf_request *request, client_exchange *exchange, wasi_http_types_own_incoming_response_t *response, hf_failure *failure);
/* An answer without its body. */
void client_told(wasi_http_types_own_incoming_response_t response, hf_answer *answer);
/* All of an answer. */
bool client_receive(const hf_request *request, wasi_http_types_own_incoming_response_t response, hf_answer *answer, hf_failure *failure);
bool client_open(const hf_request *request, wasi_http_types_own_incoming_response_t response, client_content *content, hf_failure *failure);
/* The next bytes, which are to be freed; none at the end. */
bool client_next(const hf_request *request, client_content *content, plugin_list_u8_t *part, hf_failure *failure);
void client_close(client_content *content);
/* Always false: why there is no answer. */
bool client_failed(const hf_request *request, const char *code, const char *reason, hf_failure *failure);

#endif
