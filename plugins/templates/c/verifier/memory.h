/* A snapshot made up in memory, for tests: it answers every query as the agent does. */
#ifndef MEMORY_H
#define MEMORY_H

#include "holdfast_verifier.h"

hf_snapshot *memory_new(void);
/* Adds a key at the next revision. */
void memory_put(hf_snapshot *memory, const char *key, hf_bytes value);
void memory_put_text(hf_snapshot *memory, const char *key, const char *value);
/* Every scan fails once it has handed out this many rows. */
void memory_damage_after(hf_snapshot *memory, size_t rows);
/* Runs the plugin with this config, as JSON. */
hf_report *memory_run(hf_snapshot *memory, const char *config);

#endif
