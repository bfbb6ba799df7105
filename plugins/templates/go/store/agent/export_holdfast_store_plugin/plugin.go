// Package export_holdfast_store_plugin is what the plugin says of itself, as the contract asks for it.
package export_holdfast_store_plugin

import (
	contract "example.com/{{name}}/agent/holdfast_store_plugin"
	"example.com/{{name}}/store"
)

// Describe is called once after loading.
func Describe() contract.Description {
	return contract.Description{
		Name:         store.Plugin.Name,
		Version:      store.Plugin.Version,
		Summary:      store.Plugin.Summary,
		ConfigSchema: store.Plugin.ConfigSchema,
		Wants:        store.Plugin.Wants,
	}
}
