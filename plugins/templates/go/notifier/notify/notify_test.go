package notify

import (
	"errors"
	"testing"

	"example.com/{{name}}/holdfast"
)

func TestAnEventIsPostedWhole(t *testing.T) {
	host := &holdfast.TestHost{Answer: holdfast.Answer{Status: 202}, Secrets: map[string]string{"token": "opensesame"}}
	event := holdfast.SampleEvent()
	said, err := Notify(event, `{"url": "https://events.example.org/hook", "token_secret": "token"}`, host)
	if err != nil || said != "answered 202" {
		t.Fatal(said, err)
	}
	if sent := host.Sent[0]; string(sent.Body) != event.CloudEvent || sent.Headers["authorization"] != "Bearer opensesame" {
		t.Error(sent)
	}
}

func TestWhatIsNotTakenIsTriedAgainOrNot(t *testing.T) {
	for status, code := range map[int]string{503: "unavailable", 404: "refused"} {
		host := &holdfast.TestHost{Answer: holdfast.Answer{Status: status, Headers: map[string]string{"retry-after": "7"}}}
		_, err := Notify(holdfast.SampleEvent(), `{"url": "https://events.example.org/hook"}`, host)
		var own *holdfast.Error
		if !errors.As(err, &own) || own.Code != code || own.Attributes[0].Value != "7" {
			t.Error(status, err)
		}
	}
}
