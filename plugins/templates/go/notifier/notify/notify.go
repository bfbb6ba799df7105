// Package notify is the notifier: {{summary}}.
package notify

import (
	"fmt"

	"example.com/{{name}}/holdfast"
)

// Plugin is what it says of itself.
var Plugin = holdfast.Description{
	Name:    "{{name}}",
	Version: "0.1.0",
	Summary: "{{summary}}",
	// Where the event goes is the operator's to say.
	Wants: []string{`http = ["*"]`, `secrets = ["*"]`},
	// The agent checks a config with it before Notify sees it.
	ConfigSchema: `{
		"type": "object",
		"additionalProperties": false,
		"required": ["url"],
		"properties": {
			"url": {"type": "string", "format": "uri", "description": "Where events are posted to."},
			"token_secret": {"type": "string", "description": "The name of a secret that is sent as a bearer token."}
		}
	}`,
}

type config struct {
	URL   string `json:"url"`
	Token string `json:"token_secret"`
}

// Notify delivers one event, and gives back one line on what the far end said. A holdfast.Error says why the event was not delivered, and
// whether to try again: config and refused are final, anything else is tried again.
func Notify(event holdfast.Event, text string, host holdfast.Host) (string, error) {
	var config config
	if err := holdfast.ParseConfig(text, &config); err != nil {
		return "", err
	}
	headers := map[string]string{"content-type": "application/cloudevents+json"}
	if config.Token != "" {
		token, err := host.Secret(config.Token)
		if err != nil {
			return "", err
		}
		headers["authorization"] = "Bearer " + token
	}
	answer, err := host.Send(holdfast.Request{Method: "POST", URL: config.URL, Headers: headers, Body: []byte(event.CloudEvent)})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("answered %d", answer.Status), answer.Check()
}
