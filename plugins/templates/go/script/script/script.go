// Package script is the script: {{summary}}.
package script

import (
	"fmt"

	"example.com/{{name}}/holdfast"
)

// Plugin is what it says of itself.
var Plugin = holdfast.Description{
	Name:    "{{name}}",
	Version: "0.1.0",
	Summary: "{{summary}}",
	// The agent checks a config with it before Run sees it.
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

// Run looks, writes, and reports: the database is thrown away afterwards. An error says that it could not do its work.
func Run(database holdfast.Database, context holdfast.Context, text string) (*holdfast.Report, error) {
	config := config{AtLeast: 1}
	if err := holdfast.ParseConfig(text, &config); err != nil {
		return nil, err
	}
	keys, err := database.Count(holdfast.Prefix(config.Prefix))
	if err != nil {
		return nil, err
	}
	report := &holdfast.Report{Summary: fmt.Sprintf("%d keys begin with `%s`", keys, config.Prefix)}
	if keys < config.AtLeast {
		report.Error("too-few", nil, "%s, fewer than %d", report.Summary, config.AtLeast)
	}
	key := []byte("/{{name}}/trial")
	if _, err := database.Put(key, []byte("written"), 0); err != nil {
		return nil, err
	}
	row, err := database.Get(key)
	if err != nil {
		return nil, err
	}
	if row == nil || string(row.Value) != "written" {
		report.Error("not-written", key, "a key is not read as it was written")
	} else {
		report.Summary += ", and more can be written"
	}
	report.Measure("keys", float64(keys), "keys")
	return report, nil
}
