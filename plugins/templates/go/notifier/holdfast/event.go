package holdfast

// Event is one thing that happened. Its texts may come from a cluster or a server: escape them as the far end demands.
type Event struct {
	// The same at each attempt to deliver this event to this notifier.
	ID string
	// RFC 3339, UTC.
	Time string
	// What happened, e.g. backup.failed. One that is not known is no error.
	Kind string
	// info, warning or error; anything else counts as error.
	Severity string
	Summary  string
	Cluster  string
	// The whole event as CloudEvents 1.0, a JSON object.
	CloudEvent string
	// Further facts by name, as the contract tells.
	Attributes map[string]string
}
