/* An etcd made up in memory, for tests: keys without history, and no leases. */
#ifndef MEMORY_H
#define MEMORY_H

#include "holdfast_script.h"

hf_database *memory_new(void);
void memory_put_text(hf_database *memory, const char *key, const char *value);
/* Every call fails from now on. */
void memory_take_away(hf_database *memory);
/* Runs the plugin with this config, as JSON. */
hf_report *memory_run(hf_database *memory, const char *config);

#endif
