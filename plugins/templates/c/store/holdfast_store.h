/* A store: it keeps objects in some place. `store.c` writes `hf_plugin` and the calls at the end of this file; everything else is here.
 *
 * Each call comes in an instance of its own, several at a time; what is to outlast a call lies in the place itself.
 */
#ifndef HOLDFAST_STORE_H
#define HOLDFAST_STORE_H

#include "holdfast_http.h"

/* ---- what goes in and out --------------------------------------------------------------------------------------- */

/* The bytes to be stored. */
typedef struct hf_body {
    /* The next bytes: at least one, at most `max_bytes` or 1 MiB, lent until the next read. None at all is the end: only then the object is
     * whole. False: it broke off; answer with that failure, and leave nothing of the object. */
    bool (*read)(struct hf_body *body, uint32_t max_bytes, hf_bytes *piece, hf_failure *failure);
    /* How many there are, where that is known before the last one came. */
    bool (*size_bytes)(struct hf_body *body, uint64_t *size);
} hf_body;

/* Takes the bytes that were asked for. False: nobody reads on; answer with that failure. */
typedef struct hf_sink {
    /* Before the first bytes, once: the size of the whole object, also when only a range of it was asked for, and its tag. */
    bool (*begin)(struct hf_sink *sink, uint64_t size_bytes, hf_bytes tag, hf_failure *failure);
    /* The next bytes, in their order, at most 1 MiB. */
    bool (*write)(struct hf_sink *sink, hf_bytes bytes, hf_failure *failure);
} hf_sink;

/* What a store knows of an object. */
typedef struct {
    hf_bytes path;
    uint64_t size_bytes;
    /* When it was written, by the place's clock: milliseconds since 1970, UTC; 0 when it is not known. */
    int64_t modified;
    /* Another one for another object under the same path, such as an `ETag`; empty when it is not known. */
    hf_bytes tag;
    /* Until when it cannot be removed, RFC 3339. Only `hf_head` has to tell. */
    hf_bytes locked_until;
} hf_entry;

/* A part of a listing. */
typedef struct {
    /* Ascending by path, compared as bytes, each once. */
    hf_entry *entries;
    size_t len;
    /* Handed to the next call as it is; empty on the last page. */
    hf_bytes next;
} hf_page;

/* What is known of a call: the config, and facts by name, as the contract tells. */
typedef struct {
    hf_bytes config;
    const hf_pair *facts;
    size_t facts_len;
} hf_call;

/* A fact; empty when it is not known. */
hf_bytes hf_fact(const hf_call *call, const char *name);

/* ---- requests whose bodies go piece by piece -------------------------------------------------------------------- */

/* Sends a request with what `body` gives, to its end; `sent` is how many bytes that were. When the body breaks off, so does the request: no
 * server may take it for whole. */
bool hf_upload(const hf_request *request, hf_body *body, hf_answer *answer, uint64_t *sent, hf_failure *failure);

/* An answer whose body is on its way. `head` is the answer without it. The request must last as long. */
typedef struct hf_download hf_download;
hf_download *hf_download_begin(const hf_request *request, hf_answer *head, hf_failure *failure);
/* The next bytes, lent until the next read; none at the end. What the head said of their number is not compared with what came. */
bool hf_download_read(hf_download *download, hf_bytes *piece, hf_failure *failure);
void hf_download_end(hf_download *download);

/* ---- why a call could not be done; always false ----------------------------------------------------------------- */

bool hf_not_found(hf_bytes path, hf_failure *failure);
bool hf_exists(hf_bytes path, hf_failure *failure);
/* What a server answered, when it is no success and nothing that the store knows better: by its status. */
bool hf_answered(const hf_answer *answer, hf_failure *failure);

/* ---- what `store.c` writes -------------------------------------------------------------------------------------- */

/* What the store promises with this config, up to a NULL. Whatever is promised is relied upon. */
const char *const *hf_features(hf_bytes config);
/* Is it there, and can it be written to? */
bool hf_probe(const hf_call *call, hf_failure *failure);
/* Stores a new object, never in the place of another. `stored` is how many bytes: all that `body` gave. */
bool hf_put(const hf_call *call, hf_bytes path, hf_body *body, uint64_t *stored, hf_failure *failure);
/* Hands on an object, from byte `start` on, up to `end`, which does not belong to it and may lie behind the object's. */
bool hf_get(const hf_call *call, hf_bytes path, uint64_t start, uint64_t end, hf_sink *into, hf_failure *failure);
/* One object, if it is there. */
bool hf_head(const hf_call *call, hf_bytes path, bool *found, hf_entry *entry, hf_failure *failure);
/* At most `limit` objects whose path begins with `prefix`, in the order of paths. `after` is what the last page handed on. */
bool hf_list(const hf_call *call, hf_bytes prefix, hf_bytes after, uint32_t limit, hf_page *page, hf_failure *failure);
/* Removes an object. One that is not there is no error. */
bool hf_delete(const hf_call *call, hf_bytes path, hf_failure *failure);
/* Removes what writers left that died longer ago. Called only when the feature `sweep` is promised. */
bool hf_sweep(const hf_call *call, uint64_t age_seconds, uint64_t *swept, hf_failure *failure);

#endif
