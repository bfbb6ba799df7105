package holdfast

import "encoding/json"

// SampleEvent is an event as the agent makes it, for tests.
func SampleEvent() Event {
	event := Event{
		ID:         "d41d8cd98f00b204",
		Time:       "2026-11-21T03:00:00Z",
		Kind:       "backup.failed",
		Severity:   "error",
		Summary:    "the backup of cluster `prod-eu` failed: no member could be reached",
		Cluster:    "prod-eu",
		Attributes: map[string]string{"session": "5f0c1d2e3a4b5c6d", "problem": "backup", "status": "firing", "attempt": "1"},
	}
	whole, _ := json.Marshal(map[string]any{
		"specversion": "1.0", "id": event.ID, "time": event.Time, "type": event.Kind, "source": "holdfast",
		"data": map[string]string{"severity": event.Severity, "summary": event.Summary, "cluster": event.Cluster},
	})
	event.CloudEvent = string(whole)
	return event
}

// TestHost stands for the agent in tests: it answers every request alike, and keeps what was sent.
type TestHost struct {
	Answer  Answer
	Secrets map[string]string
	Sent    []Request
	Kept    map[string][]byte
}

func (h *TestHost) Send(request Request) (Answer, error) {
	h.Sent = append(h.Sent, request)
	return h.Answer, nil
}

func (h *TestHost) Secret(name string) (string, error) {
	value, granted := h.Secrets[name]
	if !granted {
		return "", &Error{Code: "denied", Message: "`" + name + "` is not granted"}
	}
	return value, nil
}

func (h *TestHost) State(string) State { return testState{h} }

type testState struct{ host *TestHost }

func (s testState) Get(key string) ([]byte, error) { return s.host.Kept[key], nil }

func (s testState) Set(key string, value []byte) error {
	if s.host.Kept == nil {
		s.host.Kept = map[string][]byte{}
	}
	s.host.Kept[key] = value
	return nil
}

func (s testState) Delete(key string) error {
	delete(s.host.Kept, key)
	return nil
}

func (s testState) Keys() ([]string, error) {
	var keys []string
	for key := range s.host.Kept {
		keys = append(keys, key)
	}
	return keys, nil
}
