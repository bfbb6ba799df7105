/* HTTP by wasi:http, secrets and the log by the agent. Native tests leave this file out. */
#include "bindings/plugin.h"
#include "holdfast_http.h"

#include <stdlib.h>
#include <string.h>

#define PATIENCE_SECONDS 15
/* What one write of a stream takes at most. */
#define WRITE_BYTES 4096
#define READ_BYTES (1u << 16)

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
    *failure = (hf_failure){taken(error.code), taken(error.message), {"", 0}};
    return false;
}

/* Paths and queries of hooks are secrets often enough: only the host is told. */
static bool unanswered(hf_bytes url, const char *reason, hf_failure *failure) {
    hf_url parsed;
    if (!hf_url_parse(url, &parsed)) return hf_fail(failure, "config", "a URL begins with `https://` or `http://`, and names a host");
    return hf_fail(failure, "unavailable", "%.*s cannot be asked: %s", HF_ARG(parsed.authority), reason);
}

/* The cases of an error code that operators meet. */
static const char *reason(const wasi_http_types_error_code_t *code) {
    switch (code->tag) {
        case WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_DENIED: return "it is not granted";
        case WASI_HTTP_TYPES_ERROR_CODE_DESTINATION_IP_PROHIBITED: return "its address is not granted";
        case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_REFUSED: return "the connection is refused";
        case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_TIMEOUT:
        case WASI_HTTP_TYPES_ERROR_CODE_CONNECTION_READ_TIMEOUT:
        case WASI_HTTP_TYPES_ERROR_CODE_HTTP_RESPONSE_TIMEOUT: return "it does not answer in time";
        case WASI_HTTP_TYPES_ERROR_CODE_DNS_TIMEOUT:
        case WASI_HTTP_TYPES_ERROR_CODE_DNS_ERROR:
        case WASI_HTTP_TYPES_ERROR_CODE_DESTINATION_NOT_FOUND: return "its name cannot be resolved";
        case WASI_HTTP_TYPES_ERROR_CODE_TLS_PROTOCOL_ERROR:
        case WASI_HTTP_TYPES_ERROR_CODE_TLS_CERTIFICATE_ERROR:
        case WASI_HTTP_TYPES_ERROR_CODE_TLS_ALERT_RECEIVED: return "its certificate or TLS is no good";
        default: return "the connection failed";
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
    wasi_http_types_error_code_t code;
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
    wasi_http_types_static_outgoing_body_finish(body, NULL, &code);
}

static void read_headers(wasi_http_types_own_incoming_response_t response, hf_answer *answer) {
    wasi_http_types_own_fields_t fields = wasi_http_types_method_incoming_response_headers(wasi_http_types_borrow_incoming_response(response));
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
    answer->headers = headers;
    answer->headers_len = entries.len;
    wasi_http_types_list_tuple2_field_name_field_value_free(&entries);
    wasi_http_types_fields_drop_own(fields);
}

static bool read_body(wasi_http_types_own_incoming_response_t response, hf_bytes url, hf_answer *answer, hf_failure *failure) {
    wasi_http_types_own_incoming_body_t body;
    wasi_http_types_own_input_stream_t stream;
    if (!wasi_http_types_method_incoming_response_consume(wasi_http_types_borrow_incoming_response(response), &body)) {
        return unanswered(url, "the answer has no body", failure);
    }
    bool whole = false;
    char *content = NULL;
    size_t len = 0;
    if (!wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(body), &stream)) {
        unanswered(url, "the answer has no body", failure);
    } else {
        for (;;) {
            plugin_list_u8_t part;
            wasi_io_streams_stream_error_t error;
            if (!wasi_io_streams_method_input_stream_blocking_read(wasi_io_streams_borrow_input_stream(stream), READ_BYTES, &part, &error)) {
                whole = error.tag == WASI_IO_STREAMS_STREAM_ERROR_CLOSED;
                if (!whole) unanswered(url, "the answer broke off", failure);
                wasi_io_streams_stream_error_free(&error);
                break;
            }
            if (part.len > HF_MOST_BYTES - len) {
                hf_fail(failure, "refused", "the answer has more than %u bytes", HF_MOST_BYTES);
                break;
            }
            char *longer = realloc(content, len + part.len + 1);
            if (longer == NULL) abort();
            content = longer;
            if (part.len > 0) memcpy(content + len, part.ptr, part.len);
            len += part.len;
            plugin_list_u8_free(&part);
        }
        wasi_io_streams_input_stream_drop_own(stream);
    }
    wasi_http_types_incoming_body_drop_own(body);
    answer->body = content != NULL ? (hf_bytes){content, len} : (hf_bytes){"", 0};
    return whole;
}

bool hf_send(const hf_request *request, hf_answer *answer, hf_failure *failure) {
    hf_url url;
    wasi_http_types_own_outgoing_request_t outgoing;
    wasi_http_types_own_outgoing_body_t body;
    wasi_http_outgoing_handler_own_future_incoming_response_t pending;
    wasi_http_outgoing_handler_error_code_t code;
    memset(answer, 0, sizeof *answer);
    if (!hf_url_parse(request->url, &url)) return unanswered(request->url, "", failure);
    if (!head(request, &url, &outgoing) ||
        !wasi_http_types_method_outgoing_request_body(wasi_http_types_borrow_outgoing_request(outgoing), &body)) {
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
    if (!wasi_http_outgoing_handler_handle(outgoing, &options, &pending, &code)) {
        wasi_http_types_outgoing_body_drop_own(body);
        return unanswered(request->url, reason(&code), failure);
    }
    write_body(body, request->body);
    wasi_http_types_borrow_future_incoming_response_t future = wasi_http_types_borrow_future_incoming_response(pending);
    wasi_io_poll_own_pollable_t ready = wasi_http_types_method_future_incoming_response_subscribe(future);
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(ready));
    wasi_io_poll_pollable_drop_own(ready);
    wasi_http_types_result_result_own_incoming_response_error_code_void_t came;
    bool there = wasi_http_types_method_future_incoming_response_get(future, &came) && !came.is_err;
    wasi_http_types_future_incoming_response_drop_own(pending);
    if (!there) return unanswered(request->url, "there is no answer", failure);
    if (came.val.ok.is_err) return unanswered(request->url, reason(&came.val.ok.val.err), failure);
    wasi_http_types_own_incoming_response_t response = came.val.ok.val.ok;
    answer->status = wasi_http_types_method_incoming_response_status(wasi_http_types_borrow_incoming_response(response));
    read_headers(response, answer);
    bool whole = read_body(response, request->url, answer, failure);
    wasi_http_types_incoming_response_drop_own(response);
    return whole;
}
