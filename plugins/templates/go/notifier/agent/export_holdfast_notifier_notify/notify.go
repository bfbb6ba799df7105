// Package export_holdfast_notifier_notify hands the agent's event to the notifier, and its answer to the agent.
package export_holdfast_notifier_notify

import (
	"errors"

	witTypes "go.bytecodealliance.org/pkg/wit/types"

	"example.com/{{name}}/agent/client"
	log "example.com/{{name}}/agent/holdfast_host_log"
	contract "example.com/{{name}}/agent/holdfast_notifier_notify"
	"example.com/{{name}}/holdfast"
	"example.com/{{name}}/notify"
)

func init() { holdfast.Log = log.Write }

// Notify is called once for each attempt to deliver an event, in a fresh instance.
func Notify(event contract.Event, config string) witTypes.Result[contract.Receipt, contract.Error] {
	attributes := map[string]string{}
	for _, fact := range event.Attributes {
		attributes[fact.F0] = fact.F1
	}
	told := holdfast.Event{
		ID: event.Id, Time: event.Time, Kind: event.Kind, Severity: event.Severity, Summary: event.Summary, Cluster: event.Cluster,
		CloudEvent: event.Cloudevent, Attributes: attributes,
	}
	said, err := notify.Notify(told, config, client.Host{})
	if err == nil {
		return witTypes.Ok[contract.Receipt, contract.Error](contract.Receipt{Summary: said})
	}
	refusal := contract.Error{Code: "error", Message: err.Error()}
	var own *holdfast.Error
	if errors.As(err, &own) {
		refusal.Code = own.Code
		for _, pair := range own.Attributes {
			refusal.Attributes = append(refusal.Attributes, witTypes.Tuple2[string, string]{F0: pair.Name, F1: pair.Value})
		}
	}
	return witTypes.Err[contract.Receipt](refusal)
}
