// Package client is what the agent grants: HTTP by wasi:http, secrets, state.
package client

import (
	"fmt"
	"net/url"
	"strings"

	witTypes "go.bytecodealliance.org/pkg/wit/types"

	"example.com/{{name}}/agent/holdfast_host_secrets"
	"example.com/{{name}}/agent/holdfast_host_state"
	"example.com/{{name}}/agent/memory"
	handler "example.com/{{name}}/agent/wasi_http_outgoing_handler"
	http "example.com/{{name}}/agent/wasi_http_types"
	"example.com/{{name}}/agent/wasi_io_streams"
	"example.com/{{name}}/holdfast"
)

const (
	// What one write of a stream takes at most.
	writeBytes      = 4096
	readBytes       = 1 << 18
	patienceSeconds = 15
)

// Host is the agent.
type Host struct{}

// Send sends a request. Handles are dropped by hand: left to the garbage collector they could go in the middle of a call.
func (Host) Send(request holdfast.Request) (holdfast.Answer, error) {
	future, body, err := begin(request)
	if err != nil {
		return holdfast.Answer{}, err
	}
	write(body, request.Body)
	response, err := answered(request, future)
	if err != nil {
		return holdfast.Answer{}, err
	}
	defer response.Drop()
	return receive(request, response)
}

// begin sends a request's head: what becomes the answer, and the body that is to be written and finished.
func begin(request holdfast.Request) (*http.FutureIncomingResponse, *http.OutgoingBody, error) {
	memory.Tend()
	outgoing, err := head(request)
	if err != nil {
		return nil, nil, err
	}
	options := http.MakeRequestOptions()
	patience := request.PatienceSeconds
	if patience == 0 {
		patience = patienceSeconds
	}
	nanoseconds := witTypes.Some(patience * 1_000_000_000)
	// Each of the three may be refused; the limits of the call hold anyway.
	options.SetConnectTimeout(nanoseconds)
	options.SetFirstByteTimeout(nanoseconds)
	options.SetBetweenBytesTimeout(nanoseconds)
	body := outgoing.Body()
	if body.IsErr() {
		return nil, nil, failed(request, "the request has no body")
	}
	pending := handler.Handle(outgoing, witTypes.Some(options))
	if pending.IsErr() {
		body.Ok().Drop()
		return nil, nil, unanswered(request, pending.Err())
	}
	return pending.Ok(), body.Ok(), nil
}

// answered waits for the head of the answer.
func answered(request holdfast.Request, future *http.FutureIncomingResponse) (*http.IncomingResponse, error) {
	defer future.Drop()
	ready := future.Subscribe()
	ready.Block()
	ready.Drop()
	answered := future.Get()
	if answered.IsNone() || answered.Some().IsErr() {
		return nil, failed(request, "there is no answer")
	}
	answer := answered.Some().Ok()
	if answer.IsErr() {
		return nil, unanswered(request, answer.Err())
	}
	return answer.Ok(), nil
}

func failed(request holdfast.Request, reason string) error {
	return &holdfast.Error{Code: "unavailable", Message: fmt.Sprintf("%s cannot be asked: %s", request.Origin(), reason)}
}

// unanswered makes of wasi:http's error what the agent knows: unavailable may work another time, the rest is final.
func unanswered(request holdfast.Request, code http.ErrorCode) error {
	kind, reason := "unavailable", ""
	switch code.Tag() {
	case http.ErrorCode_HttpRequestDenied:
		kind, reason = "denied", "it is not granted"
	case http.ErrorCode_DestinationIpProhibited:
		kind, reason = "denied", "its address is not granted"
	case http.ErrorCode_ConnectionRefused:
		reason = "the connection is refused"
	case http.ErrorCode_ConnectionTimeout, http.ErrorCode_HttpResponseTimeout, http.ErrorCode_ConnectionReadTimeout:
		reason = "it does not answer in time"
	case http.ErrorCode_DnsError, http.ErrorCode_DnsTimeout, http.ErrorCode_DestinationNotFound:
		reason = "its name cannot be resolved"
	case http.ErrorCode_TlsCertificateError, http.ErrorCode_TlsProtocolError, http.ErrorCode_TlsAlertReceived:
		kind, reason = "tls", "its certificate or TLS is no good"
	default:
		reason = fmt.Sprintf("error %d of wasi:http", code.Tag())
	}
	return &holdfast.Error{Code: kind, Message: fmt.Sprintf("%s cannot be asked: %s", request.Origin(), reason)}
}

func head(request holdfast.Request) (*http.OutgoingRequest, error) {
	target, err := url.Parse(request.URL)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return nil, &holdfast.Error{Code: "config", Message: "a URL begins with `https://` or `http://`, and names a host"}
	}
	var entries []witTypes.Tuple2[string, []uint8]
	for name, value := range request.Headers {
		entries = append(entries, witTypes.Tuple2[string, []uint8]{F0: name, F1: []uint8(value)})
	}
	fields := http.FieldsFromList(entries)
	if fields.IsErr() {
		return nil, &holdfast.Error{Code: "config", Message: "a header of the request is none"}
	}
	outgoing := http.MakeOutgoingRequest(fields.Ok())
	scheme := http.MakeSchemeHttps()
	if target.Scheme == "http" {
		scheme = http.MakeSchemeHttp()
	}
	if outgoing.SetScheme(witTypes.Some(scheme)).IsErr() || outgoing.SetAuthority(witTypes.Some(target.Host)).IsErr() ||
		outgoing.SetPathWithQuery(witTypes.Some(target.RequestURI())).IsErr() || outgoing.SetMethod(method(request.Method)).IsErr() {
		outgoing.Drop()
		return nil, &holdfast.Error{Code: "config", Message: "the method or the URL of the request is none"}
	}
	return outgoing, nil
}

func method(name string) http.Method {
	switch name {
	case "", "GET":
		return http.MakeMethodGet()
	case "HEAD":
		return http.MakeMethodHead()
	case "POST":
		return http.MakeMethodPost()
	case "PUT":
		return http.MakeMethodPut()
	case "DELETE":
		return http.MakeMethodDelete()
	case "PATCH":
		return http.MakeMethodPatch()
	default:
		return http.MakeMethodOther(name)
	}
}

// write hands over the body. One that cannot be written is explained by the answer.
func write(body *http.OutgoingBody, content []byte) {
	stream := body.Write()
	if stream.IsOk() {
		for len(content) > 0 {
			part := content[:min(len(content), writeBytes)]
			if written := stream.Ok().BlockingWriteAndFlush(part); written.IsErr() {
				isClosed(written.Err())
				break
			}
			content = content[len(part):]
		}
		stream.Ok().Drop()
	}
	http.OutgoingBodyFinish(body, witTypes.None[*http.Fields]())
}

func receive(request holdfast.Request, response *http.IncomingResponse) (holdfast.Answer, error) {
	answer := told(response)
	body := response.Consume()
	if body.IsErr() {
		return answer, failed(request, "the answer has no body")
	}
	defer body.Ok().Drop()
	stream := body.Ok().Stream()
	if stream.IsErr() {
		return answer, failed(request, "the answer has no body")
	}
	defer stream.Ok().Drop()
	for {
		part, err := next(request, stream.Ok())
		if err != nil || len(part) == 0 {
			return answer, err
		}
		answer.Body = append(answer.Body, part...)
		if len(answer.Body) > holdfast.MostBytes {
			return answer, &holdfast.Error{Code: "refused", Message: fmt.Sprintf("the answer of %s has more than %d bytes", request.Origin(), holdfast.MostBytes)}
		}
	}
}

// told is an answer without its body.
func told(response *http.IncomingResponse) holdfast.Answer {
	answer := holdfast.Answer{Status: int(response.Status()), Headers: map[string]string{}}
	fields := response.Headers()
	for _, field := range fields.Entries() {
		answer.Headers[strings.ToLower(field.F0)] = strings.ToValidUTF8(string(field.F1), "\ufffd")
	}
	fields.Drop()
	return answer
}

// next are the next bytes of an answer; none at the end.
func next(request holdfast.Request, stream *wasi_io_streams.InputStream) ([]byte, error) {
	for {
		memory.Tend()
		part := stream.BlockingRead(readBytes)
		if part.IsErr() {
			if isClosed(part.Err()) {
				return nil, nil
			}
			return nil, failed(request, "the answer broke off")
		}
		// Nothing yet is not the end.
		if len(part.Ok()) > 0 {
			return part.Ok(), nil
		}
	}
}

// isClosed lets go of a stream's error. Anything but its end is that it broke off.
func isClosed(failure wasi_io_streams.StreamError) bool {
	if failure.Tag() == wasi_io_streams.StreamError_Closed {
		return true
	}
	failure.LastOperationFailed().Drop()
	return false
}

// Secret is the value of a secret that is granted.
func (Host) Secret(name string) (string, error) {
	value := holdfast_host_secrets.Get(name)
	if value.IsErr() {
		return "", &holdfast.Error{Code: value.Err().Code, Message: value.Err().Message}
	}
	return value.Ok(), nil
}

// State is a small store that outlasts the call, if it is granted.
func (Host) State(store string) holdfast.State { return state(store) }

type state string

func refused(err holdfast_host_state.Error) error {
	return &holdfast.Error{Code: err.Code, Message: err.Message}
}

func (s state) Get(key string) ([]byte, error) {
	value := holdfast_host_state.Get(string(s), key)
	if value.IsErr() {
		return nil, refused(value.Err())
	}
	return value.Ok().SomeOr(nil), nil
}

func (s state) Set(key string, value []byte) error {
	if answer := holdfast_host_state.Set(string(s), key, value); answer.IsErr() {
		return refused(answer.Err())
	}
	return nil
}

func (s state) Delete(key string) error {
	if answer := holdfast_host_state.Delete(string(s), key); answer.IsErr() {
		return refused(answer.Err())
	}
	return nil
}

func (s state) Keys() ([]string, error) {
	keys := holdfast_host_state.Keys(string(s))
	if keys.IsErr() {
		return nil, refused(keys.Err())
	}
	return keys.Ok(), nil
}
