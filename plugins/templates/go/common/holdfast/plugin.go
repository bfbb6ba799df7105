// Package holdfast is what a plugin works with, in the agent and in tests alike. It knows nothing of WebAssembly.
package holdfast

import (
	"bytes"
	"encoding/json"
)

// Description is what a plugin says of itself.
type Description struct {
	Name, Version, Summary string
	// JSON Schema (2020-12): the agent checks a config with it. Empty when there is nothing to say.
	ConfigSchema string
	// Lines of an `allow` table that it would like.
	Wants []string
	// Is a verifier given back what it put into the report's Memo for the backup before?
	Remembers bool
}

// Pair is a detail for programs.
type Pair struct {
	Name, Value string
}

// Error is that a plugin could not do its work. Code: config, one that the contract knows, or one of your own. Any other error has the code
// error. The contract of verifiers and scripts has no room for attributes.
type Error struct {
	Code, Message string
	Attributes    []Pair
}

func (e *Error) Error() string { return e.Message }

// ParseConfig reads the config into your own type. What the type does not know is refused.
func ParseConfig(config string, into any) error {
	decoder := json.NewDecoder(bytes.NewReader([]byte(config)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return &Error{Code: "config", Message: err.Error()}
	}
	return nil
}

// Log writes one line to the agent's log; level: debug, info, warn, error. In a test it writes nothing.
var Log = func(level, message string) {}
