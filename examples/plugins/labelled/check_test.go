package check

import (
	"testing"

	"example.com/labelled/holdfast"
)

func cluster() *holdfast.Memory {
	object := func(name, labels string) string {
		return `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "` + name + `", "labels": {` + labels + `}}}`
	}
	return (&holdfast.Memory{}).
		Put("/registry/namespaces/kube-system", object("kube-system", "")).
		Put("/registry/namespaces/orders", object("orders", `"team": "sales"`)).
		Put("/registry/namespaces/web", object("web", `"tier": "front"`)).
		Put("/registry/secrets/web/tls", "k8s:enc:aescbc:v1:key:sealed")
}

func verify(t *testing.T, config string) *holdfast.Report {
	t.Helper()
	report, err := Verify(cluster().Snapshot(), nil, config)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestMissingLabelsAreNamed(t *testing.T) {
	report := verify(t, `{"labels": ["team"], "except": ["kube-*"]}`)
	findings := report.Findings()
	if report.Outcome() != holdfast.Failed || len(findings) != 1 || findings[0].Message != "Namespace `web` has no label `team`" {
		t.Error(report.Summary, findings)
	}
}

func TestWhatIsEncryptedIsNotDecided(t *testing.T) {
	if outcome := verify(t, `{"labels": ["team"], "resource": "secrets"}`).Outcome(); outcome != holdfast.Inconclusive {
		t.Error(outcome)
	}
}

func TestABrokenPatternIsAnErrorOfTheConfig(t *testing.T) {
	if _, err := Verify(cluster().Snapshot(), nil, `{"labels": ["team"], "except": ["["]}`); err == nil {
		t.Error("it was taken")
	}
}

func TestASnapshotThatBreaksOffIsAnError(t *testing.T) {
	memory := cluster()
	memory.DamagedAfter = 1
	if _, err := Verify(memory.Snapshot(), nil, `{"labels": ["team"], "except": ["kube-*"]}`); err == nil {
		t.Error("it was overlooked")
	}
}
