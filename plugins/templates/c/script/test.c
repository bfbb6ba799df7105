#include "memory.h"

#include <stdio.h>

static int failures = 0;

#define EXPECT(condition)                                                         \
    do {                                                                          \
        if (!(condition)) {                                                       \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            failures++;                                                           \
        }                                                                         \
    } while (0)

static hf_database *database(void) {
    hf_database *memory = memory_new();
    memory_put_text(memory, "/app/a", "1");
    memory_put_text(memory, "/app/b", "2");
    memory_put_text(memory, "/other", "3");
    return memory;
}

static hf_outcome outcome(const char *config) { return hf_report_outcome(memory_run(database(), config)); }

int main(void) {
    EXPECT(outcome("{\"prefix\": \"/app/\", \"at_least\": 2}") == HF_PASSED);
    EXPECT(outcome("{\"prefix\": \"/app/\", \"at_least\": 3}") == HF_FAILED);
    hf_database *gone = database();
    memory_take_away(gone);
    memory_run(gone, "{\"prefix\": \"/app/\"}");
    EXPECT(hf_is_broken(gone));
    if (failures == 0) puts("ok");
    return failures == 0 ? 0 : 1;
}
