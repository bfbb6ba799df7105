package check

import (
	"testing"

	"example.com/{{name}}/holdfast"
)

func outcome(t *testing.T, config string) holdfast.Outcome {
	t.Helper()
	memory := (&holdfast.Memory{}).Put("/app/a", "1").Put("/app/b", "2").Put("/other", "3")
	report, err := Verify(memory.Snapshot(), nil, config)
	if err != nil {
		t.Fatal(err)
	}
	return report.Outcome()
}

func TestEnoughKeysPass(t *testing.T) {
	if got := outcome(t, `{"prefix": "/app/", "at_least": 2}`); got != holdfast.Passed {
		t.Error(got)
	}
}

func TestTooFewKeysFail(t *testing.T) {
	if got := outcome(t, `{"prefix": "/app/", "at_least": 3}`); got != holdfast.Failed {
		t.Error(got)
	}
}
