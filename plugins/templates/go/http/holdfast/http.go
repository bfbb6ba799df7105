package holdfast

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// MostBytes is the longest answer that is taken.
const MostBytes = 1 << 20

// Request is sent through the agent, to what is granted (`allow = { http = [...] }`) and wanted. No redirect is followed.
type Request struct {
	Method, URL string
	Headers     map[string]string
	Body        []byte
	// How long to wait for the connection, for the answer, and between its parts; 0 for 15.
	PatienceSeconds uint64
}

// PostJSON is a request with a value as its body.
func PostJSON(url string, value any) (Request, error) {
	body, err := json.Marshal(value)
	return Request{Method: "POST", URL: url, Headers: map[string]string{"content-type": "application/json"}, Body: body}, err
}

// Origin is what may be told of a URL: paths and queries of hooks are secrets often enough.
func (r Request) Origin() string {
	parsed, err := url.Parse(r.URL)
	if err != nil {
		return "the URL"
	}
	return parsed.Scheme + "://" + parsed.Hostname()
}

// Answer is an answer; names of headers are in lower case.
type Answer struct {
	Status  int
	Headers map[string]string
	Body    []byte
}

// Check lets an answer of success pass. Of others it makes what the agent knows: unavailable is tried again, refused is final.
func (a Answer) Check() error {
	if a.Status >= 200 && a.Status < 300 {
		return nil
	}
	code := "refused"
	if a.Status == 408 || a.Status == 429 || a.Status >= 500 {
		code = "unavailable"
	}
	message := fmt.Sprintf("it answered %d", a.Status)
	if said := strings.Join(strings.Fields(strings.ToValidUTF8(string(a.Body), "\ufffd")), " "); said != "" {
		message += ": " + said[:min(len(said), 200)]
	}
	err := &Error{Code: code, Message: strings.ToValidUTF8(message, "")}
	if seconds, bad := strconv.ParseUint(a.Headers["retry-after"], 10, 32); bad == nil {
		err.Attributes = []Pair{{"retry-after", strconv.FormatUint(seconds, 10)}}
	}
	return err
}

// Host is what the agent grants.
type Host interface {
	// Send sends a request; an error says why there is no answer.
	Send(Request) (Answer, error)
	// Secret is the value of a secret that is granted.
	Secret(name string) (string, error)
	// State is a small store that outlasts the call, if it is granted.
	State(store string) State
}

// State is a small store of keys and values.
type State interface {
	// Get is nil when there is no such key.
	Get(key string) ([]byte, error)
	Set(key string, value []byte) error
	Delete(key string) error
	Keys() ([]string, error)
}
