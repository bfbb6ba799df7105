/* Requests whose bodies go piece by piece: however large an object is, no more of it is held than a piece. Native tests leave this file out. */
#include "client.h"
#include "holdfast_store.h"

/* What is read of a body at once. */
#define PIECE_BYTES (1u << 18)

/* Lets go of a stream's error: a server that takes no more is explained by its answer. */
static bool over(wasi_io_streams_stream_error_t *error) {
    wasi_io_streams_stream_error_free(error);
    return true;
}

/* Writes a piece. False: the server takes no more. */
static bool write_piece(wasi_io_streams_borrow_output_stream_t stream, wasi_io_poll_borrow_pollable_t ready, hf_bytes piece) {
    wasi_io_streams_stream_error_t error;
    while (piece.len > 0) {
        uint64_t room;
        if (!wasi_io_streams_method_output_stream_check_write(stream, &room, &error)) return !over(&error);
        if (room == 0) {
            wasi_io_poll_method_pollable_block(ready);
            continue;
        }
        plugin_list_u8_t part = {(uint8_t *)piece.data, piece.len < room ? piece.len : (size_t)room};
        if (!wasi_io_streams_method_output_stream_write(stream, &part, &error)) return !over(&error);
        piece = (hf_bytes){piece.data + part.len, piece.len - part.len};
    }
    return true;
}

/* Writes all that comes. Not whole: the server takes no more, or has answered before it had all. False: the body broke off. */
static bool hand_on(client_exchange *exchange, hf_body *body, uint64_t *sent, bool *whole, hf_failure *failure) {
    wasi_http_types_own_output_stream_t own;
    *whole = false;
    *sent = 0;
    if (!wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(exchange->body), &own)) return true;
    wasi_io_streams_borrow_output_stream_t stream = wasi_io_streams_borrow_output_stream(own);
    wasi_io_poll_own_pollable_t ready = wasi_io_streams_method_output_stream_subscribe(stream);
    wasi_io_poll_own_pollable_t come =
        wasi_http_types_method_future_incoming_response_subscribe(wasi_http_types_borrow_future_incoming_response(exchange->pending));
    bool is_read;
    hf_bytes piece;
    while ((is_read = body->read(body, PIECE_BYTES, &piece, failure)) && piece.len > 0) {
        *sent += piece.len;
        /* Only now: who has answered with the last piece in hand has answered to all of it. */
        if (wasi_io_poll_method_pollable_ready(wasi_io_poll_borrow_pollable(come))) break;
        if (!write_piece(stream, wasi_io_poll_borrow_pollable(ready), piece)) break;
    }
    *whole = is_read && piece.len == 0;
    wasi_io_poll_pollable_drop_own(come);
    wasi_io_poll_pollable_drop_own(ready);
    wasi_io_streams_output_stream_drop_own(own);
    return is_read;
}

bool hf_upload(const hf_request *request, hf_body *body, hf_answer *answer, uint64_t *sent, hf_failure *failure) {
    client_exchange exchange;
    wasi_http_types_own_incoming_response_t response;
    bool whole;
    if (!client_begin(request, &exchange, failure)) return false;
    bool is_read = hand_on(&exchange, body, sent, &whole, failure);
    /* Dropped and not finished, it breaks off the request. */
    if (whole) whole = client_finish(&exchange);
    else wasi_http_types_outgoing_body_drop_own(exchange.body);
    if (!is_read) {
        wasi_http_types_future_incoming_response_drop_own(exchange.pending);
        return false;
    }
    if (!client_answered(request, &exchange, &response, failure)) return false;
    bool is_there = client_receive(request, response, answer, failure);
    wasi_http_types_incoming_response_drop_own(response);
    if (is_there && !whole && answer->status < 300) {
        return client_failed(request, "unavailable", "it says that all is well, and has not taken all of the request", failure);
    }
    return is_there;
}

struct hf_download {
    const hf_request *request;
    wasi_http_types_own_incoming_response_t response;
    client_content content;
    plugin_list_u8_t lent;
};

hf_download *hf_download_begin(const hf_request *request, hf_answer *head, hf_failure *failure) {
    client_exchange exchange;
    hf_download *download = hf_allocate(sizeof *download);
    download->request = request;
    if (!client_begin(request, &exchange, failure)) return NULL;
    /* What goes wrong is explained by the answer. */
    client_finish(&exchange);
    if (!client_answered(request, &exchange, &download->response, failure)) return NULL;
    client_told(download->response, head);
    if (client_open(request, download->response, &download->content, failure)) return download;
    wasi_http_types_incoming_response_drop_own(download->response);
    return NULL;
}

static void give_back(hf_download *download) {
    plugin_list_u8_free(&download->lent);
    download->lent = (plugin_list_u8_t){NULL, 0};
}

bool hf_download_read(hf_download *download, hf_bytes *piece, hf_failure *failure) {
    give_back(download);
    if (!client_next(download->request, &download->content, &download->lent, failure)) return false;
    *piece = (hf_bytes){(const char *)download->lent.ptr, download->lent.len};
    return true;
}

void hf_download_end(hf_download *download) {
    give_back(download);
    client_close(&download->content);
    wasi_http_types_incoming_response_drop_own(download->response);
}
