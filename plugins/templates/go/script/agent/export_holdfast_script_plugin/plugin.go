// Package export_holdfast_script_plugin is what the plugin says of itself, as the contract asks for it.
package export_holdfast_script_plugin

import (
	contract "example.com/{{name}}/agent/holdfast_script_plugin"
	"example.com/{{name}}/script"
)

// Describe is called once after loading.
func Describe() contract.Description {
	return contract.Description{
		Name:         script.Plugin.Name,
		Version:      script.Plugin.Version,
		Summary:      script.Plugin.Summary,
		ConfigSchema: script.Plugin.ConfigSchema,
		Wants:        script.Plugin.Wants,
	}
}
