// Package check is the verifier: {{summary}}.
package check

import (
	"fmt"

	"example.com/{{name}}/holdfast"
)

// Plugin is what it says of itself.
var Plugin = holdfast.Description{
	Name:    "{{name}}",
	Version: "0.1.0",
	Summary: "{{summary}}",
	// The agent checks a config with it before Verify sees it.
	ConfigSchema: `{
		"type": "object",
		"additionalProperties": false,
		"required": ["prefix"],
		"properties": {
			"prefix": {"type": "string", "description": "How the keys begin that are counted."},
			"at_least": {"type": "integer", "minimum": 0, "default": 1, "description": "How many of them there must be."}
		}
	}`,
}

type config struct {
	Prefix  string `json:"prefix"`
	AtLeast uint64 `json:"at_least"`
}

// Verify looks, and reports. An error means that it could not do its work, which is not the same as a snapshot that lacks something.
func Verify(snapshot holdfast.Snapshot, _ holdfast.Context, text string) (*holdfast.Report, error) {
	config := config{AtLeast: 1}
	if err := holdfast.ParseConfig(text, &config); err != nil {
		return nil, err
	}
	// The agent counts; no row crosses over. To look at rows: `for row, err := range snapshot.Rows(query)`.
	totals, err := snapshot.Totals(holdfast.Prefix(config.Prefix))
	if err != nil {
		return nil, err
	}
	report := &holdfast.Report{Summary: fmt.Sprintf("%d keys begin with `%s`", totals.Keys, config.Prefix)}
	if totals.Keys < config.AtLeast {
		report.Error("too-few", nil, "%s, fewer than %d", report.Summary, config.AtLeast)
	}
	report.Measure("keys", float64(totals.Keys), "keys")
	return report, nil
}
