// Package export_holdfast_notifier_plugin is what the plugin says of itself, as the contract asks for it.
package export_holdfast_notifier_plugin

import (
	contract "example.com/{{name}}/agent/holdfast_notifier_plugin"
	"example.com/{{name}}/notify"
)

// Describe is called once after loading.
func Describe() contract.Description {
	return contract.Description{
		Name:         notify.Plugin.Name,
		Version:      notify.Plugin.Version,
		Summary:      notify.Plugin.Summary,
		ConfigSchema: notify.Plugin.ConfigSchema,
		Wants:        notify.Plugin.Wants,
	}
}
