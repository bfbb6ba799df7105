package script

import (
	"testing"

	"example.com/{{name}}/holdfast"
)

func outcome(t *testing.T, config string) holdfast.Outcome {
	t.Helper()
	memory := (&holdfast.Memory{}).With("/app/a", "1").With("/app/b", "2").With("/other", "3")
	report, err := Run(memory.Database(), nil, config)
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
