// Package check looks whether objects have the labels that they should.
package check

import (
	"fmt"
	"path"

	"example.com/labelled/holdfast"
)

// Plugin is what it says of itself.
var Plugin = holdfast.Description{
	Name:    "labelled",
	Version: "0.1.0",
	Summary: "Checks that objects have the labels they should",
	ConfigSchema: `{
		"type": "object",
		"additionalProperties": false,
		"required": ["labels"],
		"properties": {
			"labels": {"type": "array", "minItems": 1, "items": {"type": "string"}, "description": "Labels that every object must have."},
			"resource": {"type": "string", "default": "namespaces", "description": "What is looked at, as it is stored below the prefix."},
			"except": {"type": "array", "items": {"type": "string"}, "description": "Names that may do without; * stands for anything."}
		}
	}`,
}

type config struct {
	Labels   []string `json:"labels"`
	Resource string   `json:"resource"`
	Except   []string `json:"except"`
}

func (c config) excepts(name string) (bool, error) {
	for _, pattern := range c.Except {
		if matches, err := path.Match(pattern, name); err != nil {
			return false, &holdfast.Error{Code: "config", Message: fmt.Sprintf("`%s` in `except` is no pattern", pattern)}
		} else if matches {
			return true, nil
		}
	}
	return false, nil
}

// Verify looks at every object of the kind.
func Verify(snapshot holdfast.Snapshot, _ holdfast.Context, text string) (*holdfast.Report, error) {
	config := config{Resource: "namespaces"}
	if err := holdfast.ParseConfig(text, &config); err != nil {
		return nil, err
	}
	report := &holdfast.Report{}
	objects := 0
	query := holdfast.Prefix("/registry/" + config.Resource + "/")
	query.Columns = holdfast.KeysAndValues
	for row, err := range snapshot.Rows(query) {
		if err != nil {
			return nil, err
		}
		objects++
		object, encrypted, err := holdfast.ParseObject(row.Value)
		switch {
		case err != nil:
			report.Error("broken", row.Key, "%s", err)
			continue
		case encrypted != nil:
			report.Undecided("encrypted", row.Key, "its labels are encrypted by `%s`", encrypted.Provider)
			continue
		case object == nil:
			report.Undecided("unknown", row.Key, "no object that can be read")
			continue
		}
		excepted, err := config.excepts(object.Name)
		if err != nil {
			return nil, err
		}
		for _, label := range config.Labels {
			if _, has := object.Labels[label]; !has && !excepted {
				report.Error("no-label", row.Key, "%s `%s` has no label `%s`", object.Kind, object.Name, label)
			}
		}
	}
	if objects == 0 {
		report.Undecided("nothing-there", nil, "there are no `%s` in the snapshot", config.Resource)
	}
	report.Summary = fmt.Sprintf("%d labels are missing on %d %s", report.Count("no-label"), objects, config.Resource)
	report.Measure("objects", float64(objects), "objects")
	report.Measure("missing", float64(report.Count("no-label")), "labels")
	return report, nil
}
