package holdfast

import (
	"fmt"
	"strconv"
	"strings"
)

// Stored is what a store knows of an object.
type Stored struct {
	Path      string
	SizeBytes uint64
	// When it was written, by the place's clock: milliseconds since 1970, UTC. 0 when it is not known.
	Modified int64
	// Another one for another object under the same path, such as an ETag; empty when it is not known.
	Tag string
	// Until when it cannot be removed, RFC 3339. Only Head has to tell.
	LockedUntil string
}

// Page is a part of a listing.
type Page struct {
	// Ascending by path, compared as bytes, each once.
	Objects []Stored
	// Handed to the next call as it is; empty on the last page.
	Next string
}

// Body are the bytes to be stored.
type Body interface {
	// SizeBytes is how many there are, where that is known before the last one came.
	SizeBytes() (uint64, bool)
	// Read gives the next bytes: at least one, at most maxBytes or 1 MiB. None at all is the end: only then the object is whole. An error
	// is to be answered as it is, and nothing may be left of the object.
	Read(maxBytes uint32) ([]byte, error)
}

// Sink takes the bytes that were asked for. Its errors are to be answered as they are: nobody reads on.
type Sink interface {
	// Begin comes before the first bytes, once: the size of the whole object, also when only a range of it was asked for, and its tag.
	Begin(sizeBytes uint64, tag string) error
	// Write hands on the next bytes, in their order, at most 1 MiB.
	Write(bytes []byte) error
}

// ObjectHost is what the agent grants to a store.
type ObjectHost interface {
	Host
	// Upload sends a request with what the body gives, and tells how many bytes that were.
	Upload(Request, Body) (Answer, uint64, error)
	// Download sends a request, and hands on the answer piece by piece.
	Download(Request) (Download, error)
}

// Download is an answer whose body is on its way.
type Download interface {
	// Head is the answer without its body.
	Head() Answer
	// Read gives the next bytes; none at the end. What the head said of their number is not compared with what came.
	Read() ([]byte, error)
	Close()
}

// Whole is an answer with the rest of its body, as far as an answer is taken.
func Whole(download Download) (Answer, error) {
	answer := download.Head()
	for len(answer.Body) < MostBytes {
		part, err := download.Read()
		if err != nil || len(part) == 0 {
			return answer, err
		}
		answer.Body = append(answer.Body, part...)
	}
	return answer, nil
}

// Context is what is known of the call by name, as the contract tells.
type Context map[string]string

// NotFound is that there is no such object.
func NotFound(path string) error {
	return &Error{Code: "not-found", Message: fmt.Sprintf("there is no `%s`", path)}
}

// Exists is that there is one already.
func Exists(path string) error {
	return &Error{Code: "exists", Message: fmt.Sprintf("`%s` is there already", path)}
}

// Answered is what a server answered, when it is no success and nothing that the store knows better: by its status.
func Answered(answer Answer) error {
	err := &Error{Code: "http", Message: fmt.Sprintf("the server answers %d", answer.Status)}
	if said := strings.Join(strings.Fields(strings.ToValidUTF8(string(answer.Body), "\ufffd")), " "); said != "" {
		err.Message = strings.ToValidUTF8(err.Message+": "+said[:min(len(said), 300)], "")
	}
	switch status := answer.Status; {
	case status == 401, status == 403, status == 407:
		err.Code = "denied"
	case status == 507:
		err.Code = "full"
	case status >= 300 && status < 400:
		err.Code = "config"
		err.Message = fmt.Sprintf("the server answers %d and leads to `%s`: name that address", status, answer.Headers["location"])
	case status == 408, status == 423, status == 425, status == 429, status == 500, status >= 502 && status <= 504:
		err.Code = "unavailable"
		if seconds, bad := strconv.ParseUint(answer.Headers["retry-after"], 10, 32); bad == nil {
			err.Attributes = []Pair{{"retry-after", strconv.FormatUint(seconds, 10)}}
		}
	}
	return err
}
