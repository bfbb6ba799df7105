#include "holdfast.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- bytes ---------------------------------------------------------------------------------------------------- */

void *hf_allocate(size_t bytes) {
    void *memory = calloc(1, bytes > 0 ? bytes : 1);
    if (memory == NULL) {
        fputs("no memory is left\n", stderr);
        abort();
    }
    return memory;
}

hf_bytes hf_text(const char *text) { return (hf_bytes){text, strlen(text)}; }

bool hf_equal(hf_bytes a, hf_bytes b) { return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0); }

bool hf_is(hf_bytes bytes, const char *text) { return hf_equal(bytes, hf_text(text)); }

bool hf_starts_with(hf_bytes bytes, const char *prefix) {
    size_t len = strlen(prefix);
    return bytes.len >= len && (len == 0 || memcmp(bytes.data, prefix, len) == 0);
}

hf_bytes hf_copy(hf_bytes bytes) {
    char *copy = hf_allocate(bytes.len + 1);
    if (bytes.len > 0) memcpy(copy, bytes.data, bytes.len);
    return (hf_bytes){copy, bytes.len};
}

hf_bytes hf_format_list(const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int len = vsnprintf(NULL, 0, format, arguments);
    if (len < 0) len = 0;
    char *text = hf_allocate((size_t)len + 1);
    vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return (hf_bytes){text, (size_t)len};
}

hf_bytes hf_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    hf_bytes text = hf_format_list(format, arguments);
    va_end(arguments);
    return text;
}

/* ---- JSON ----------------------------------------------------------------------------------------------------- */

/* Deeper than any config or object, and shallow enough for the stack. */
#define MAX_DEPTH 128

static bool skip_value(hf_bytes *json, int depth);

static void advance(hf_bytes *json, size_t len) {
    json->data += len;
    json->len -= len;
}

static void skip_space(hf_bytes *json) {
    while (json->len > 0 && *json->data != 0 && strchr(" \t\r\n", *json->data) != NULL) advance(json, 1);
}

static bool take(hf_bytes *json, const char *word) {
    if (!hf_starts_with(*json, word)) return false;
    advance(json, strlen(word));
    return true;
}

static bool skip_text(hf_bytes *json) {
    if (!take(json, "\"")) return false;
    while (json->len > 0) {
        char c = *json->data;
        if ((unsigned char)c < 0x20 || (c == '\\' && json->len < 2)) return false;
        advance(json, c == '\\' ? 2 : 1);
        if (c == '"') return true;
    }
    return false;
}

static bool skip_items(hf_bytes *json, char close, int depth) {
    skip_space(json);
    if (json->len > 0 && *json->data == close) {
        advance(json, 1);
        return true;
    }
    for (;;) {
        if (close == '}') {
            skip_space(json);
            if (!skip_text(json)) return false;
            skip_space(json);
            if (!take(json, ":")) return false;
        }
        if (!skip_value(json, depth + 1)) return false;
        skip_space(json);
        if (json->len == 0) return false;
        char mark = *json->data;
        advance(json, 1);
        if (mark == close) return true;
        if (mark != ',') return false;
    }
}

static bool skip_value(hf_bytes *json, int depth) {
    skip_space(json);
    if (json->len == 0 || depth > MAX_DEPTH) return false;
    switch (*json->data) {
        case '{': return take(json, "{") && skip_items(json, '}', depth);
        case '[': return take(json, "[") && skip_items(json, ']', depth);
        case '"': return skip_text(json);
        case 't': return take(json, "true");
        case 'f': return take(json, "false");
        case 'n': return take(json, "null");
        default: {
            size_t len = 0;
            while (len < json->len && json->data[len] != 0 && strchr("+-0123456789.eE", json->data[len]) != NULL) len++;
            advance(json, len);
            return len > 0;
        }
    }
}

hf_bytes hf_json_parse(hf_bytes text) {
    hf_bytes rest = text;
    skip_space(&rest);
    hf_bytes value = rest;
    if (!skip_value(&rest, 0)) return (hf_bytes){NULL, 0};
    value.len -= rest.len;
    skip_space(&rest);
    return rest.len == 0 ? value : (hf_bytes){NULL, 0};
}

hf_bytes hf_json_items(hf_bytes value) {
    bool has_items = value.len >= 2 && (*value.data == '{' || *value.data == '[');
    return has_items ? (hf_bytes){value.data + 1, value.len - 2} : (hf_bytes){NULL, 0};
}

bool hf_json_next(hf_bytes *items, hf_bytes *name, hf_bytes *value) {
    skip_space(items);
    take(items, ",");
    skip_space(items);
    hf_bytes start = *items;
    if (name != NULL) {
        if (!skip_text(items)) return false;
        *name = hf_json_text((hf_bytes){start.data, start.len - items->len}, "");
        skip_space(items);
        if (!take(items, ":")) return false;
        skip_space(items);
        start = *items;
    }
    if (!skip_value(items, 0)) return false;
    *value = (hf_bytes){start.data, start.len - items->len};
    return true;
}

hf_bytes hf_json_get(hf_bytes table, const char *name) {
    hf_bytes items = hf_json_items(table), found = {NULL, 0}, known, value;
    if (table.len == 0 || *table.data != '{') return found;
    while (hf_json_next(&items, &known, &value)) {
        if (hf_is(known, name)) found = value;
    }
    return found;
}

static bool read_hex(hf_bytes *text, uint32_t *code) {
    if (text->len < 4) return false;
    char digits[5] = {text->data[0], text->data[1], text->data[2], text->data[3], 0}, *end;
    if (strspn(digits, "0123456789abcdefABCDEF") != 4) return false;
    *code = (uint32_t)strtoul(digits, &end, 16);
    advance(text, 4);
    return true;
}

static char *write_utf8(char *out, uint32_t code) {
    if (code < 0x80) {
        *out++ = (char)code;
        return out;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    *out++ = (char)((more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0) | code >> (6 * more));
    while (more-- > 0) *out++ = (char)(0x80 | (code >> (6 * more) & 0x3f));
    return out;
}

/* A text with escapes, written anew: an escape is never shorter than what it stands for. */
static hf_bytes unescape(hf_bytes text, const char *otherwise) {
    static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    char *start = hf_allocate(text.len + 1), *out = start;
    while (text.len > 0) {
        char c = *text.data;
        advance(&text, 1);
        if (c != '\\') {
            *out++ = c;
            continue;
        }
        char escape = *text.data;
        advance(&text, 1);
        const char *known = escape != 0 ? strchr(escapes, escape) : NULL;
        uint32_t code, low;
        if (known != NULL) {
            *out++ = meant[known - escapes];
        } else if (escape == 'u' && read_hex(&text, &code)) {
            if (code >= 0xd800 && code < 0xdc00) {
                if (!take(&text, "\\u") || !read_hex(&text, &low) || low < 0xdc00 || low > 0xdfff) return hf_text(otherwise);
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            } else if (code >= 0xdc00 && code < 0xe000) {
                return hf_text(otherwise);
            }
            out = write_utf8(out, code);
        } else {
            return hf_text(otherwise);
        }
    }
    return (hf_bytes){start, (size_t)(out - start)};
}

hf_bytes hf_json_text(hf_bytes value, const char *otherwise) {
    if (value.len < 2 || *value.data != '"') return hf_text(otherwise);
    hf_bytes text = {value.data + 1, value.len - 2};
    bool is_plain = text.len == 0 || memchr(text.data, '\\', text.len) == NULL;
    return is_plain ? text : unescape(text, otherwise);
}

int64_t hf_json_integer(hf_bytes value, int64_t otherwise) {
    char digits[32], *end;
    if (value.len == 0 || value.len >= sizeof digits || strchr("-0123456789", *value.data) == NULL) return otherwise;
    memcpy(digits, value.data, value.len);
    digits[value.len] = 0;
    errno = 0;
    long long number = strtoll(digits, &end, 10);
    return errno == 0 && end == digits + value.len ? (int64_t)number : otherwise;
}

bool hf_json_bool(hf_bytes value, bool otherwise) {
    return hf_is(value, "true") || (!hf_is(value, "false") && otherwise);
}

/* ---- Kubernetes: keys ----------------------------------------------------------------------------------------- */

/* What the API calls it, and what it is stored under where that differs. */
static const char *const STORED_AS[][2] = {
    {"endpoints", "services/endpoints"},
    {"ingresses", "ingress"},
    {"nodes", "minions"},
    {"podsecuritypolicies", "podsecuritypolicy"},
    {"replicationcontrollers", "controllers"},
    {"services", "services/specs"},
};

/* Takes everything up to the next slash; false when there is no slash. */
static bool split(hf_bytes *rest, hf_bytes *part) {
    const char *slash = rest->len > 0 ? memchr(rest->data, '/', rest->len) : NULL;
    if (slash == NULL) return false;
    size_t len = (size_t)(slash - rest->data);
    *part = (hf_bytes){rest->data, len};
    *rest = (hf_bytes){slash + 1, rest->len - len - 1};
    return true;
}

bool hf_object_key_parse(const char *prefix, hf_bytes key, hf_object_key *parsed) {
    size_t len = strlen(prefix);
    while (len > 0 && prefix[len - 1] == '/') len--;
    if (key.len <= len || memcmp(key.data, prefix, len) != 0 || key.data[len] != '/') return false;
    hf_bytes rest = {key.data + len + 1, key.len - len - 1}, part;
    *parsed = (hf_object_key){{"", 0}, {"", 0}, {"", 0}, {"", 0}};
    if (!split(&rest, &parsed->resource)) return false;
    /* A group always has a dot, and a built-in resource never has one. */
    bool has_group = parsed->resource.len > 0 && memchr(parsed->resource.data, '.', parsed->resource.len) != NULL;
    if (has_group) {
        parsed->group = parsed->resource;
        if (!split(&rest, &parsed->resource)) return false;
    } else if (hf_is(parsed->resource, "services")) {
        /* The one resource that is stored under two parts. */
        hf_bytes after = rest;
        if (split(&after, &part) && (hf_is(part, "specs") || hf_is(part, "endpoints"))) {
            parsed->resource.len += 1 + part.len;
            rest = after;
        }
    }
    for (size_t i = 0; !has_group && i < sizeof STORED_AS / sizeof *STORED_AS; i++) {
        if (hf_is(parsed->resource, STORED_AS[i][1])) {
            parsed->resource = hf_text(STORED_AS[i][0]);
            break;
        }
    }
    bool has_namespace = split(&rest, &parsed->namespace);
    parsed->name = rest;
    return parsed->resource.len > 0 && !(has_namespace && parsed->namespace.len == 0) && rest.len > 0 &&
           memchr(rest.data, '/', rest.len) == NULL;
}

/* ---- Kubernetes: values --------------------------------------------------------------------------------------- */

bool hf_is_encrypted(hf_bytes value) { return hf_starts_with(value, "k8s:enc:"); }

/* `k8s:enc:PROVIDER:VERSION:KEY:`, and then at least something. */
static hf_stored read_encrypted(hf_bytes value, hf_object *object) {
    hf_bytes parts[3], rest = {value.data + 8, value.len - 8};
    for (int i = 0; i < 3; i++) {
        const char *colon = rest.len > 0 ? memchr(rest.data, ':', rest.len) : NULL;
        if (colon == NULL) return HF_STORED_BROKEN;
        parts[i] = (hf_bytes){rest.data, (size_t)(colon - rest.data)};
        rest = (hf_bytes){colon + 1, rest.len - parts[i].len - 1};
    }
    if (parts[0].len == 0 || parts[1].len == 0 || rest.len == 0) return HF_STORED_BROKEN;
    object->provider = parts[0];
    object->key_name = parts[2];
    return HF_STORED_ENCRYPTED;
}

/* Protobuf without schemas: only the envelope and the metadata have fields that are known here (apimachinery,
 * pkg/runtime/generated.proto and pkg/apis/meta/v1/generated.proto). */
typedef struct {
    uint64_t number;
    /* `data` is NULL when the field holds no bytes. */
    hf_bytes content;
} field;

static bool read_varint(hf_bytes *message, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (message->len == 0) return false;
        uint8_t byte = (uint8_t)*message->data;
        message->data++;
        message->len--;
        if (shift < 64) *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

/* The next field. Sets `broken` when there is none because the message breaks off. */
static bool next_field(hf_bytes *message, field *next, bool *broken) {
    uint64_t tag, len;
    if (message->len == 0) return false;
    *broken = true;
    if (!read_varint(message, &tag) || tag >> 3 == 0) return false;
    next->number = tag >> 3;
    next->content = (hf_bytes){NULL, 0};
    switch (tag & 7) {
        case 0:
            if (!read_varint(message, &len)) return false;
            *broken = false;
            return true;
        case 1: len = 8; break;
        case 5: len = 4; break;
        case 2:
            if (!read_varint(message, &len)) return false;
            break;
        default: return false;
    }
    if (len > message->len) return false;
    if ((tag & 7) == 2) next->content = (hf_bytes){message->data, (size_t)len};
    message->data += len;
    message->len -= (size_t)len;
    *broken = false;
    return true;
}

/* Copies the contents of fields 1 to `known` into the places given; fields that are not wanted have none. */
static bool read_fields(hf_bytes message, hf_bytes *const places[], uint64_t known) {
    bool broken = false;
    field next;
    while (next_field(&message, &next, &broken)) {
        if (next.number > known || places[next.number - 1] == NULL) continue;
        if (next.content.data == NULL) return false;
        *places[next.number - 1] = next.content;
    }
    return !broken;
}

/* The labels of a protobuf object: field 11, a map. Sets `broken` when one of them is. */
static bool find_label(hf_bytes metadata, const char *name, hf_bytes *value, bool *broken) {
    field next;
    while (next_field(&metadata, &next, broken)) {
        if (next.number != 11) continue;
        hf_bytes known = {"", 0};
        *value = (hf_bytes){"", 0};
        hf_bytes *const pair[] = {&known, value};
        if (next.content.data == NULL || !read_fields(next.content, pair, 2)) {
            *broken = true;
            return false;
        }
        if (name != NULL && hf_is(known, name)) return true;
    }
    return false;
}

bool hf_object_label(const hf_object *object, const char *name, hf_bytes *value) {
    bool broken = false;
    if (!object->is_json) return find_label(object->metadata, name, value, &broken);
    hf_bytes found = hf_json_get(hf_json_get(object->metadata, "labels"), name);
    *value = hf_json_text(found, "");
    return found.len > 0;
}

static bool read_metadata(hf_bytes metadata, hf_object *object) {
    hf_bytes *const places[] = {&object->name, NULL, &object->namespace, NULL, &object->uid};
    hf_bytes label;
    bool broken = false;
    object->metadata = metadata;
    /* Once through all labels, so that a broken one is found here. */
    find_label(metadata, NULL, &label, &broken);
    return !broken && read_fields(metadata, places, 5);
}

static hf_stored read_protobuf(hf_bytes envelope, hf_object *object) {
    hf_bytes type = {"", 0}, raw = {"", 0}, metadata = {"", 0};
    hf_bytes *const outer[] = {&type, &raw}, *const types[] = {&object->api_version, &object->kind}, *const inner[] = {&metadata};
    bool whole = read_fields(envelope, outer, 2) && read_fields(type, types, 2) && read_fields(raw, inner, 1) &&
                 read_metadata(metadata, object);
    return whole && object->kind.len > 0 && object->api_version.len > 0 ? HF_STORED_OBJECT : HF_STORED_BROKEN;
}

static hf_stored read_json(hf_bytes value, hf_object *object) {
    hf_bytes json = hf_json_parse(value), metadata = hf_json_get(json, "metadata");
    object->api_version = hf_json_text(hf_json_get(json, "apiVersion"), "");
    object->kind = hf_json_text(hf_json_get(json, "kind"), "");
    object->name = hf_json_text(hf_json_get(metadata, "name"), "");
    object->namespace = hf_json_text(hf_json_get(metadata, "namespace"), "");
    object->uid = hf_json_text(hf_json_get(metadata, "uid"), "");
    object->is_json = true;
    object->metadata = metadata;
    return object->kind.len > 0 && object->api_version.len > 0 ? HF_STORED_OBJECT : HF_STORED_BROKEN;
}

hf_stored hf_object_parse(hf_bytes value, hf_object *object) {
    hf_bytes none = {"", 0};
    *object = (hf_object){none, none, none, none, none, none, none, false, none};
    if (hf_is_encrypted(value)) return read_encrypted(value, object);
    /* Four bytes, the last of them zero. */
    if (value.len >= 4 && memcmp(value.data, "k8s", 4) == 0) {
        return read_protobuf((hf_bytes){value.data + 4, value.len - 4}, object);
    }
    hf_bytes rest = value;
    while (rest.len > 0 && strchr(" \t\r\n", *rest.data) != NULL && *rest.data != 0) {
        rest.data++;
        rest.len--;
    }
    return rest.len > 0 && *rest.data == '{' ? read_json(value, object) : HF_STORED_OTHERWISE;
}
