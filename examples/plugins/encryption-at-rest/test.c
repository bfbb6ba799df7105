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

static hf_snapshot *cluster(void) {
    hf_snapshot *snapshot = memory_new();
    memory_put_text(snapshot, "/registry/secrets/web/old", "k8s:enc:aescbc:v1:key-2025:sealed");
    memory_put_text(snapshot, "/registry/secrets/web/new", "k8s:enc:aescbc:v1:key-2026:sealed");
    memory_put_text(snapshot, "/registry/configmaps/web/plain", "{\"kind\": \"ConfigMap\", \"apiVersion\": \"v1\"}");
    return snapshot;
}

int main(void) {
    EXPECT(hf_report_outcome(memory_run(cluster(), "{}")) == HF_PASSED);

    hf_report *rotated = memory_run(cluster(), "{\"sealed_by\": \"aescbc:v1:key-2026\"}");
    EXPECT(hf_report_outcome(rotated) == HF_FAILED && hf_findings_of(rotated, "other-key") == 1);
    EXPECT(hf_is(rotated->summary, "1 of 2 objects are not encrypted as they should be"));
    EXPECT(hf_is(hf_report_findings(rotated)->message, "encrypted by `aescbc` with the key `key-2025`"));

    hf_report *plain = memory_run(cluster(), "{\"resources\": [\"secrets\", \"configmaps\"]}");
    EXPECT(hf_findings_of(plain, "plain") == 1 && hf_is(hf_report_findings(plain)->key, "/registry/configmaps/web/plain"));

    EXPECT(hf_report_outcome(memory_run(cluster(), "{\"resources\": [\"tokens\"]}")) == HF_INCONCLUSIVE);

    hf_snapshot *damaged = cluster();
    memory_damage_after(damaged, 1);
    memory_run(damaged, "{\"resources\": [\"configmaps\", \"secrets\"], \"sealed_by\": \"kms:v2:vault\"}");
    EXPECT(hf_is_broken(damaged));
    if (failures == 0) puts("ok");
    return failures == 0 ? 0 : 1;
}
