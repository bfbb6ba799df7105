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

static hf_outcome outcome(const char *config) {
    hf_snapshot *snapshot = memory_new();
    memory_put_text(snapshot, "/app/a", "1");
    memory_put_text(snapshot, "/app/b", "2");
    memory_put_text(snapshot, "/other", "3");
    return hf_report_outcome(memory_run(snapshot, config));
}

int main(void) {
    EXPECT(outcome("{\"prefix\": \"/app/\", \"at_least\": 2}") == HF_PASSED);
    EXPECT(outcome("{\"prefix\": \"/app/\", \"at_least\": 3}") == HF_FAILED);
    if (failures == 0) puts("ok");
    return failures == 0 ? 0 : 1;
}
