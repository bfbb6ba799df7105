/* What stands for the agent in tests: a server that a test makes up, and objects in memory. */
#ifndef MEMORY_H
#define MEMORY_H

#include "holdfast_store.h"

/* What the server answers; an upload's whole body is in the request. */
typedef hf_answer (*memory_server)(const hf_request *request);
void memory_answer(memory_server server);
/* The last request. */
extern hf_request memory_sent;

/* The bytes of an object to be stored. One that breaks off never says that it is whole. */
hf_body *memory_body(const char *content, bool breaks_off);

/* Keeps what is handed on. */
typedef struct {
    hf_sink face;
    uint64_t size_bytes;
    hf_bytes tag, content;
} memory_sink;
memory_sink *memory_sink_new(void);

#endif
