// Package export_holdfast_verifier_plugin is what the plugin says of itself, as the contract asks for it.
package export_holdfast_verifier_plugin

import (
	witTypes "go.bytecodealliance.org/pkg/wit/types"

	contract "example.com/{{name}}/agent/holdfast_verifier_plugin"
	"example.com/{{name}}/check"
)

// Describe is called once after loading.
func Describe() contract.Description {
	var attributes []witTypes.Tuple2[string, string]
	if check.Plugin.Remembers {
		attributes = append(attributes, witTypes.Tuple2[string, string]{F0: "memo", F1: "yes"})
	}
	return contract.Description{
		Name:         check.Plugin.Name,
		Version:      check.Plugin.Version,
		Summary:      check.Plugin.Summary,
		ConfigSchema: check.Plugin.ConfigSchema,
		Wants:        check.Plugin.Wants,
		Attributes:   attributes,
	}
}
