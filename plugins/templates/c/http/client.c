/* HTTP by wasi:http, secrets and the log by the agent. Native tests leave this file out. */
#include "client.h"

#include <stdlib.h>
#include <string.h>

#define PATIENCE_SECONDS 15
/* What one write of a stream takes at most. */
#define WRITE_BYTES 4096

static plugin_string_t lend(hf_bytes bytes) { return (plugin_string_t){(uint8_t *)bytes.data, bytes.len}; }
static hf_bytes taken(plugin_string_t text) { return (hf_bytes){(const char *)text.ptr, text.len}; }

void hf_log(const char *level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    hf_bytes line = hf_format_list(format, arguments);
    va_end(arguments);
    plugin_string_t weight = lend(hf_text(level)), message = lend(line);
    holdfast_host_log_write(&weight, &message);
}

bool hf_secret(hf_bytes name, hf_bytes *value, hf_failure *failure) {
    plugin_string_t asked = lend(name), answer;
    holdfast_host_secrets_error_t error;
    if (holdfast_host_secrets_get(&asked, &answer, &error)) {
        *value = taken(answer);
        return true;
    }
    *failure = (hf_failure){taken(error.code), taken(error.message), {"", 0}, {"", 0}};
    return false;
}

/* Paths and queries of hooks are secrets often enough: only the host is told. */
bool client_failed(const hf_request *request, const char *code, const char *reason, hf_failure *failure) {
    hf_url parsed;
    if (!hf_url_parse(request->url, &parsed)) return hf_fail(failure, "config", "a URL begins with `https://` or `http://`, and names a host");
    return hf_fail(failure, code, "%.*s cannot be asked: %s", HF_ARG(parsed.authority), reason);
}

/* The cases of an error code that operators meet; of them `unavailable` may work another time, the rest is final. */
static bool unanswered(const hf_request *request, const wasi_http_types_error_code_t *code, hf_failure *failure) {
    switch (code->tag) {
        case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_DENIED: return client_failed(request, "denied", "it is not granted", failure);
        case WASI_HTTP_TYPES_ERROR_CODE_DESTINATION_IP_PROHIBITED: return client_failed(request, "denied", "its address is not granted", failure);
        case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_REFUSED: return client_failed(request, "unavailable", "the connection is refused", failure);
        case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_TIMEOUT:
        case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_READ_TIMEOUT:
        case WASI_HTTP_TYPES_ERROR_CODE_HTTP_RESPONSE_TIMEOUT: return client_failed(request, "unavailable", "it does not answer in time", failure);
        case WASI_HTTP_TYPES_ERROR_CODE_DNS_TIMEOUT:
        case WASI_HTTP_TYPES_ERROR_CODE_DNS_ERROR:
        case WASI_HTTP_TYPES_ERROR_CODE_DESTINATION_NOT_FOUND: return client_failed(request, "unavailable", "its name cannot be resolved", failure);
        case WASI_HTTP_TYPES_ERROR_CODE_TLS_PROTOCOL_ERROR:
        case WASI_HTTP_TYPES_ERROR_CODE_TLS_CERTIFICATE_ERROR:
        case WASI_HTTP_TYPES_ERROR_CODE_TLS_ALERT_RECEIVED: return client_failed(request, "tls", "its certificate or TLS is no good", failure);
        default: return client_failed(request, "unavailable", "the connection failed", failure);
    }
}

static wasi_http_types_method_t method(const char *name) {
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    wasi_http_types_method_t method;
    memset(&method, 0, sizeof method);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, known[i]) == 0) {
            method.tag = (uint8_t)i;
            return method;
        }
    }
    method.tag = WASI_HTTP_TYPES_METHOD_OTHER;
    method.val.other = lend(hf_text(name));
    return method;
}

static bool head(const hf_request *request, const hf_url *url, wasi_http_types_own_outgoing_request_t *outgoing) {
    wasi_http_types_list_tuple2_field_name_field_value_t entries = {hf_allocate(request->headers_len * sizeof *entries.ptr), request->headers_len};
    for (size_t i = 0; i < request->headers_len; i++) {
        entries.ptr[i].f0 = lend(request->headers[i].name);
        entries.ptr[i].f1.ptr = (uint8_t *)request->headers[i].value.data;
        entries.ptr[i].f1.len = request->headers[i].value.len;
    }
    wasi_http_types_own_fields_t fields;
    wasi_http_types_header_error_t error;
    if (!wasi_http_types_static_fields_from_list(&entries, &fields, &error)) return false;
    *outgoing = wasi_http_types_constructor_outgoing_request(fields);
    wasi_http_types_borrow_outgoing_request_t borrowed = wasi_http_types_borrow_outgoing_request(*outgoing);
    wasi_http_types_method_t by = method(request->method);
    wasi_http_types_scheme_t scheme = {.tag = url->is_secure ? WASI_HTTP_TYPES_SCHEME_HTTPS : WASI_HTTP_TYPES_SCHEME_HTTP};
    plugin_string_t authority = lend(url->authority), path = lend(url->path);
    return wasi_http_types_method_outgoing_request_set_method(borrowed, &by) &&
           wasi_http_types_method_outgoing_request_set_scheme(borrowed, &scheme) &&
           wasi_http_types_method_outgoing_request_set_authority(borrowed, &authority) &&
           wasi_http_types_method_outgoing_request_set_path_with_query(borrowed, &path);
}

/* A body that cannot be written is explained by the answer. */
static void write_body(wasi_http_types_own_outgoing_body_t body, hf_bytes content) {
    wasi_http_types_own_output_stream_t stream;
    wasi_io_streams_stream_error_t error;
    if (wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(body), &stream)) {
        while (content.len > 0) {
            size_t len = content.len < WRITE_BYTES ? content.len : WRITE_BYTES;
            plugin_list_u8_t part = {(uint8_t *)content.data, len};
            if (!wasi_io_streams_method_output_stream_blocking_write_and_flush(wasi_io_streams_borrow_output_stream(stream), &part, &error)) {
                wasi_io_streams_stream_error_free(&error);
                break;
            }
            content = (hf_bytes){content.data + len, content.len - len};
        }
        wasi_io_streams_output_stream_drop_own(stream);
    }
}

void client_told(wasi_http_types_own_incoming_response_t response, hf_answer *answer) {
    wasi_http_types_borrow_incoming_response_t borrowed = wasi_http_types_borrow_incoming_response(response);
    wasi_http_types_own_fields_t fields = wasi_http_types_method_incoming_response_headers(borrowed);
    wasi_http_types_list_tuple2_field_name_field_value_t entries;
    wasi_http_types_method_fields_entries(wasi_http_types_borrow_fields(fields), &entries);
    hf_pair *headers = hf_allocate(entries.len * sizeof *headers);
    for (size_t i = 0; i < entries.len; i++) {
        hf_bytes value = {(const char *)entries.ptr[i].f1.ptr, entries.ptr[i].f1.len};
        headers[i] = (hf_pair){hf_copy(taken(entries.ptr[i].f0)), hf_copy(value)};
        char *name = (char *)headers[i].name.data;
        for (; *name != 0; name++) {
            if (*name >= 'A' && *name <= 'Z') *name = (char)(*name - 'A' + 'a');
        }
    }
    *answer = (hf_answer){wasi_http_types_method_incoming_response_status(borrowed), headers, entries.len, {"", 0}};
    wasi_http_types_list_tuple2_field_name_field_value_free(&entries);
    wasi_http_types_fields_drop_own(fields);
}

bool client_open(const hf_request *request, wasi_http_types_own_incoming_response_t response, client_content *content, hf_failure *failure) {
    if (!wasi_http_types_method_incoming_response_consume(wasi_http_types_borrow_incoming_response(response), &content->body)) {
        return client_failed(request, "unavailable", "the answer has no body", failure);
    }
    if (wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(content->body), &content->stream)) return true;
    wasi_http_types_incoming_body_drop_own(content->body);
    return client_failed(request, "unavailable", "the answer has no body", failure);
}

bool client_next(const hf_request *request, client_content *content, plugin_list_u8_t *part, hf_failure *failure) {
    wasi_io_streams_borrow_input_stream_t stream = wasi_io_streams_borrow_input_stream(content->stream);
    wasi_io_streams_stream_error_t error;
    while (wasi_io_streams_method_input_stream_blocking_read(stream, READ_BYTES, part, &error)) {
        /* Nothing yet is not the end. */
        if (part->len > 0) return true;
        plugin_list_u8_free(part);
    }
    *part = (plugin_list_u8_t){NULL, 0};
    bool is_end = error.tag == WASI_IO_STREAMS_STREAM_ERROR_CLOSED;
    wasi_io_streams_stream_error_free(&error);
    return is_end || client_failed(request, "unavailable", "the answer broke off", failure);
}

void client_close(client_content *content) {
    wasi_io_streams_input_stream_drop_own(content->stream);
    wasi_http_types_incoming_body_drop_own(content->body);
}

bool client_receive(const hf_request *request, wasi_http_types_own_incoming_response_t response, hf_answer *answer, hf_failure *failure) {
    client_content content;
    client_told(response, answer);
    if (!client_open(request, response, &content, failure)) return false;
    char *whole = NULL;
    plugin_list_u8_t part;
    bool is_read;
    while ((is_read = client_next(request, &content, &part, failure)) && part.len > 0) {
        if (part.len > HF_MOST_BYTES - answer->body.len) {
            is_read = hf_fail(failure, "refused", "the answer has more than %u bytes", HF_MOST_BYTES);
            break;
        }
        whole = realloc(whole, answer->body.len + part.len);
        if (whole == NULL) abort();
        memcpy(whole + answer->body.len, part.ptr, part.len);
        answer->body = (hf_bytes){whole, answer->body.len + part.len};
        plugin_list_u8_free(&part);
    }
    client_close(&content);
    return is_read;
}

bool client_begin(const hf_request *request, client_exchange *exchange, hf_failure *failure) {
    hf_url url;
    wasi_http_types_own_outgoing_request_t outgoing;
    wasi_http_types_error_code_t code;
    if (!hf_url_parse(request->url, &url)) return client_failed(request, "config", "", failure);
    if (!head(request, &url, &outgoing) ||
        !wasi_http_types_method_outgoing_request_body(wasi_http_types_borrow_outgoing_request(outgoing), &exchange->body)) {
        return hf_fail(failure, "config", "the method, the URL or a header of the request is none");
    }
    wasi_http_types_own_request_options_t options = wasi_http_types_constructor_request_options();
    wasi_http_types_borrow_request_options_t set = wasi_http_types_borrow_request_options(options);
    uint64_t seconds = request->patience_seconds > 0 ? request->patience_seconds : PATIENCE_SECONDS;
    wasi_http_types_duration_t nanoseconds = seconds * 1000000000u;
    /* Each of the three may be refused; the limits of the call hold anyway. */
    wasi_http_types_method_request_options_set_connect_timeout(set, &nanoseconds);
    wasi_http_types_method_request_options_set_first_byte_timeout(set, &nanoseconds);
    wasi_http_types_method_request_options_set_between_bytes_timeout(set, &nanoseconds);
    if (wasi_http_outgoing_handler_handle(outgoing, &options, &exchange->pending, &code)) return true;
    wasi_http_types_outgoing_body_drop_own(exchange->body);
    return unanswered(request, &code, failure);
}

bool client_finish(client_exchange *exchange) {
    wasi_http_types_error_code_t code;
    return wasi_http_types_static_outgoing_body_finish(exchange->body, NULL, &code);
}

bool client_answered(const hf_request *request, client_exchange *exchange, wasi_http_types_own_incoming_response_t *response, hf_failure *failure) {
    wasi_http_types_borrow_future_incoming_response_t future = wasi_http_types_borrow_future_incoming_response(exchange->pending);
    wasi_io_poll_own_pollable_t ready = wasi_http_types_method_future_incoming_response_subscribe(future);
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(ready));
    wasi_io_poll_pollable_drop_own(ready);
    wasi_http_types_result_result_own_incoming_response_error_code_void_t came;
    bool there = wasi_http_types_method_future_incoming_response_get(future, &came) && !came.is_err;
    wasi_http_types_future_incoming_response_drop_own(exchange->pending);
    if (!there) return client_failed(request, "unavailable", "there is no answer", failure);
    if (came.val.ok.is_err) return unanswered(request, &came.val.ok.val.err, failure);
    *response = came.val.ok.val.ok;
    return true;
}

bool hf_send(const hf_request *request, hf_answer *answer, hf_failure *failure) {
    client_exchange exchange;
    wasi_http_types_own_incoming_response_t response;
    memset(answer, 0, sizeof *answer);
    if (!client_begin(request, &exchange, failure)) return false;
    write_body(exchange.body, request->body);
    client_finish(&exchange);
    if (!client_answered(request, &exchange, &response, failure)) return false;
    bool whole = client_receive(request, response, answer, failure);
    wasi_http_types_incoming_response_drop_own(response);
    return whole;
}
