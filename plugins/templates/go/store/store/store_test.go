package store

import (
	"errors"
	"testing"

	"example.com/{{name}}/holdfast"
)

func open(t *testing.T, host *holdfast.TestHost) *Store {
	store, err := Open(`{"url": "https://objects.example.org/etcd/"}`, nil, host)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func answering(answer holdfast.Answer) *holdfast.TestHost {
	return &holdfast.TestHost{Answers: func(holdfast.Request) holdfast.Answer { return answer }}
}

// ranged answers a HEAD with a size, and everything else with a part.
func ranged(part string) *holdfast.TestHost {
	return &holdfast.TestHost{Answers: func(request holdfast.Request) holdfast.Answer {
		if request.Method == "HEAD" {
			return holdfast.Answer{Status: 200, Headers: map[string]string{"content-length": "10", "etag": "7"}}
		}
		return holdfast.Answer{Status: 206, Body: []byte(part)}
	}}
}

func expect(t *testing.T, err error, code string) {
	t.Helper()
	var own *holdfast.Error
	if !errors.As(err, &own) || own.Code != code {
		t.Error(code, err)
	}
}

func TestAnObjectIsSentWhole(t *testing.T) {
	host := answering(holdfast.Answer{Status: 201})
	stored, err := open(t, host).Put("data/a", &holdfast.MemoryBody{Left: []byte("hello")})
	if err != nil || stored != 5 {
		t.Fatal(stored, err)
	}
	sent := host.Sent[0]
	if sent.URL != "https://objects.example.org/etcd/data/a" || sent.Headers["if-none-match"] != "*" || string(sent.Body) != "hello" {
		t.Error(sent)
	}
}

func TestAnObjectThatIsThereIsNotReplaced(t *testing.T) {
	_, err := open(t, answering(holdfast.Answer{Status: 412})).Put("data/a", &holdfast.MemoryBody{})
	expect(t, err, "exists")
}

func TestABodyThatBreaksOffIsNotStored(t *testing.T) {
	_, err := open(t, answering(holdfast.Answer{Status: 201})).Put("data/a", &holdfast.MemoryBody{Left: []byte("hello"), BreaksOff: true})
	expect(t, err, "broken")
}

func TestARangeIsHandedOn(t *testing.T) {
	sink := &holdfast.MemorySink{}
	err := open(t, ranged("cde")).Get("data/a", 2, 5, sink)
	if err != nil || sink.SizeBytes != 10 || sink.Tag != "7" || string(sink.Bytes) != "cde" {
		t.Error(sink, err)
	}
	expect(t, open(t, ranged("c")).Get("data/a", 2, 5, sink), "unavailable")
}

func TestWhatTheServerRefusesIsTold(t *testing.T) {
	for status, code := range map[int]string{503: "unavailable", 403: "denied", 507: "full", 301: "config", 418: "http"} {
		expect(t, open(t, answering(holdfast.Answer{Status: status})).Delete("data/a"), code)
	}
}

func TestAListingGoesOn(t *testing.T) {
	listing := answering(holdfast.Answer{Status: 200, Body: []byte(`{"objects": [{"path": "a", "size_bytes": 1}], "next": "a"}`)})
	page, err := open(t, listing).List("", "", 1)
	if err != nil || page.Next != "a" || page.Objects[0].Path != "a" {
		t.Error(page, err)
	}
}
