/* What a plugin works with, in the agent and in a native test alike: texts, the config, Kubernetes' keys and values.
 *
 * Memory: a call has an instance of its own, which goes when the call ends, so what is made along the way is never freed. Reading keys,
 * values and JSON makes nothing. Without memory the plugin aborts, and the agent says so.
 */
#ifndef HOLDFAST_H
#define HOLDFAST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- bytes ---------------------------------------------------------------------------------------------------- */

/* Some bytes: keys and values of etcd are no C strings, they may hold zeros. */
typedef struct {
    const char *data;
    size_t len;
} hf_bytes;

/* `printf("%.*s", HF_ARG(bytes))` */
#define HF_ARG(bytes) (int)(bytes).len, (bytes).data

hf_bytes hf_text(const char *text);
bool hf_equal(hf_bytes a, hf_bytes b);
bool hf_is(hf_bytes bytes, const char *text);
bool hf_starts_with(hf_bytes bytes, const char *prefix);
/* Zeroed memory that lasts as long as the call. */
void *hf_allocate(size_t bytes);
/* A copy that ends in a zero. */
hf_bytes hf_copy(hf_bytes bytes);
/* As printf. */
hf_bytes hf_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
hf_bytes hf_format_list(const char *format, va_list arguments);

/* ---- JSON ----------------------------------------------------------------------------------------------------- */

/* A value is the part of the text that it stands in; no bytes at all stand for none. */
hf_bytes hf_json_parse(hf_bytes text);
/* The item of a table with this name. */
hf_bytes hf_json_get(hf_bytes table, const char *name);
/* All items of a list, or with `name` of a table:
 *     hf_bytes rest = hf_json_items(list), item;
 *     while (hf_json_next(&rest, NULL, &item)) … */
hf_bytes hf_json_items(hf_bytes value);
bool hf_json_next(hf_bytes *items, hf_bytes *name, hf_bytes *value);
/* What a value says, or something else when it is none or of another kind. The agent has checked a config with its schema: only
 * what may be left out needs something else. */
hf_bytes hf_json_text(hf_bytes value, const char *otherwise);
int64_t hf_json_integer(hf_bytes value, int64_t otherwise);
bool hf_json_bool(hf_bytes value, bool otherwise);

/* ---- Kubernetes ----------------------------------------------------------------------------------------------- */

/* Which object a key is for: PREFIX/RESOURCE[/NAMESPACE]/NAME, PREFIX/GROUP/RESOURCE[/NAMESPACE]/NAME. What a key does not say is
 * empty. Resources are called as the API calls them: `nodes`, though they lie under `minions`. */
typedef struct {
    hf_bytes group, resource, namespace, name;
} hf_object_key;

/* `prefix` is `/registry`, unless the API server was told otherwise. False when the key is not built as an object's key is. */
bool hf_object_key_parse(const char *prefix, hf_bytes key, hf_object_key *parsed);

/* Is the value encrypted at rest (`k8s:enc:…`)? */
bool hf_is_encrypted(hf_bytes value);

typedef enum {
    /* None of the ways in which an API server stores objects. */
    HF_STORED_OTHERWISE,
    /* The object can be read. */
    HF_STORED_OBJECT,
    /* Encrypted at rest: only `provider` and `key_name` can be read. */
    HF_STORED_ENCRYPTED,
    /* It begins as an object or as an encrypted value does, and does not go on as one. */
    HF_STORED_BROKEN
} hf_stored;

/* What every object says of itself, from protobuf and JSON alike. */
typedef struct {
    hf_bytes api_version, kind, namespace, name, uid;
    hf_bytes provider, key_name;
    bool is_json;
    hf_bytes metadata;
} hf_object;

hf_stored hf_object_parse(hf_bytes value, hf_object *object);
/* The value of a label; false when the object has none of that name. */
bool hf_object_label(const hf_object *object, const char *name, hf_bytes *value);

/* ---- what it says of itself ----------------------------------------------------------------------------------- */

typedef struct {
    const char *name, *version, *summary;
    /* JSON Schema (2020-12): the agent checks a config with it. Empty when there is nothing to say. */
    const char *config_schema;
    /* Lines of an `allow` table that it would like, up to a NULL. */
    const char *const *wants;
    /* Is a verifier given back what it remembered with the backup before? */
    bool remembers;
} hf_description;

extern const hf_description hf_plugin;

/* A fact by its name. */
typedef struct hf_pair {
    hf_bytes name, value;
} hf_pair;

/* One line to the agent's log. Level: `debug`, `info`, `warn`, `error`. */
void hf_log(const char *level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
