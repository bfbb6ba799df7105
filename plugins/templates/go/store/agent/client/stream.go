package client

import (
	witTypes "go.bytecodealliance.org/pkg/wit/types"

	http "example.com/{{name}}/agent/wasi_http_types"
	"example.com/{{name}}/agent/wasi_io_streams"
	"example.com/{{name}}/holdfast"
)

// What is read of a body at once.
const pieceBytes = 1 << 18

// Upload sends a request with what source gives, to its end. When that breaks off, so does the request: no server may take it for whole.
func (Host) Upload(request holdfast.Request, source holdfast.Body) (holdfast.Answer, uint64, error) {
	future, body, err := begin(request)
	if err != nil {
		return holdfast.Answer{}, 0, err
	}
	sent, whole, err := handOn(body, future, source)
	if err == nil && whole {
		whole = http.OutgoingBodyFinish(body, witTypes.None[*http.Fields]()).IsOk()
	} else {
		// Dropped and not finished, it breaks off the request.
		body.Drop()
	}
	if err != nil {
		future.Drop()
		return holdfast.Answer{}, sent, err
	}
	response, err := answered(request, future)
	if err != nil {
		return holdfast.Answer{}, sent, err
	}
	defer response.Drop()
	answer, err := receive(request, response)
	if err == nil && !whole && answer.Status < 300 {
		err = failed(request, "it says that all is well, and has not taken all of the request")
	}
	return answer, sent, err
}

// handOn writes all that comes. Not whole: the server takes no more, or has answered before it had all.
func handOn(body *http.OutgoingBody, future *http.FutureIncomingResponse, source holdfast.Body) (sent uint64, whole bool, err error) {
	written := body.Write()
	if written.IsErr() {
		return 0, false, nil
	}
	stream := written.Ok()
	defer stream.Drop()
	ready, come := stream.Subscribe(), future.Subscribe()
	defer ready.Drop()
	defer come.Drop()
	for {
		piece, err := source.Read(pieceBytes)
		if err != nil {
			return sent, false, err
		}
		if len(piece) == 0 {
			return sent, true, nil
		}
		sent += uint64(len(piece))
		// Only now: who has answered with the last piece in hand has answered to all of it.
		if come.Ready() {
			return sent, false, nil
		}
		for len(piece) > 0 {
			room := stream.CheckWrite()
			if room.IsErr() {
				isClosed(room.Err())
				return sent, false, nil
			}
			if room.Ok() == 0 {
				ready.Block()
				continue
			}
			part := piece[:min(uint64(len(piece)), room.Ok())]
			if taken := stream.Write(part); taken.IsErr() {
				isClosed(taken.Err())
				return sent, false, nil
			}
			piece = piece[len(part):]
		}
	}
}

// Download sends a request without a body, and waits for the head of the answer.
func (Host) Download(request holdfast.Request) (holdfast.Download, error) {
	future, body, err := begin(request)
	if err != nil {
		return nil, err
	}
	// What goes wrong is explained by the answer.
	http.OutgoingBodyFinish(body, witTypes.None[*http.Fields]())
	response, err := answered(request, future)
	if err != nil {
		return nil, err
	}
	content := response.Consume()
	if content.IsErr() {
		response.Drop()
		return nil, failed(request, "the answer has no body")
	}
	stream := content.Ok().Stream()
	if stream.IsErr() {
		content.Ok().Drop()
		response.Drop()
		return nil, failed(request, "the answer has no body")
	}
	return &download{request, told(response), response, content.Ok(), stream.Ok()}, nil
}

type download struct {
	request  holdfast.Request
	answer   holdfast.Answer
	response *http.IncomingResponse
	body     *http.IncomingBody
	stream   *wasi_io_streams.InputStream
}

func (d *download) Head() holdfast.Answer { return d.answer }

func (d *download) Read() ([]byte, error) { return next(d.request, d.stream) }

// Close drops what comes of another before it.
func (d *download) Close() {
	d.stream.Drop()
	d.body.Drop()
	d.response.Drop()
}
