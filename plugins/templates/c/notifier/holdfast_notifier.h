/* A notifier: it takes one event and hands it on. `notify.c` writes `hf_plugin` and `hf_notify`; everything else is here. */
#ifndef HOLDFAST_NOTIFIER_H
#define HOLDFAST_NOTIFIER_H

#include "holdfast_http.h"

/* One thing that happened. Its texts may come from a cluster or a server: escape them as the far end demands. */
typedef struct {
    /* The same at each attempt to deliver this event to this notifier. */
    hf_bytes id;
    /* RFC 3339, UTC. */
    hf_bytes time;
    /* What happened, e.g. `backup.failed`. One that is not known is no error. */
    hf_bytes kind;
    /* `info`, `warning` or `error`; anything else counts as `error`. */
    hf_bytes severity;
    hf_bytes summary, cluster;
    /* The whole event as CloudEvents 1.0, a JSON object. */
    hf_bytes cloudevent;
    /* Further facts by name, as the contract tells. */
    const hf_pair *attributes;
    size_t attributes_len;
} hf_event;

/* An attribute of an event; empty when it has none of that name. */
hf_bytes hf_attribute(const hf_event *event, const char *name);

/* Delivers one event; `said` is one line on what the far end said. False when it was not delivered, and why. */
bool hf_notify(const hf_event *event, hf_bytes config, hf_bytes *said, hf_failure *failure);

#endif
