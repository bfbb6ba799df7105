// Package store is the store: {{summary}}.
//
// It speaks to a server that takes PUT with If-None-Match: *, GET with Range, HEAD and DELETE, and lists with
// GET /?prefix=…&after=…&limit=…. Put your own in its place.
package store

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"example.com/{{name}}/holdfast"
)

// Plugin is what it says of itself.
var Plugin = holdfast.Description{
	Name:    "{{name}}",
	Version: "0.1.0",
	Summary: "{{summary}}",
	Wants:   []string{`http = ["https://*", "http://*"]`},
	// The agent checks a config with it before the store sees it.
	ConfigSchema: `{
		"type": "object",
		"additionalProperties": false,
		"required": ["url"],
		"properties": {"url": {"type": "string", "format": "uri", "description": "Where the objects are."}}
	}`,
}

type config struct {
	URL string `json:"url"`
}

// Features are what the server truly does: whatever is promised here is relied upon.
func Features(string) ([]string, error) {
	return []string{"atomic", "exclusive", "ranges"}, nil
}

// Store is made for one call, and gone after it: what is to outlast a call lies in the place itself.
type Store struct {
	url  string
	host holdfast.ObjectHost
}

// Open makes ready for one call. A holdfast.Error, of every method, says why a call could not be done; of the contract's codes unavailable
// is tried again.
func Open(text string, context holdfast.Context, host holdfast.ObjectHost) (*Store, error) {
	var config config
	err := holdfast.ParseConfig(text, &config)
	return &Store{strings.TrimRight(config.URL, "/"), host}, err
}

func (s *Store) at(path string) string { return s.url + "/" + path }

// Probe says whether it is there, and can be written to.
func (s *Store) Probe() error {
	_, err := s.List("", "", 1)
	return err
}

// Put stores a new object, never in the place of another. It tells how many bytes were stored: all that the body gave.
func (s *Store) Put(path string, body holdfast.Body) (uint64, error) {
	request := holdfast.Request{Method: "PUT", URL: s.at(path), Headers: map[string]string{"if-none-match": "*"}}
	// Piece by piece: a backup may be larger than this plugin's memory.
	answer, sent, err := s.host.Upload(request, body)
	if err != nil {
		return 0, err
	}
	switch answer.Status {
	case 200, 201, 204:
		return sent, nil
	case 412:
		return 0, holdfast.Exists(path)
	default:
		return 0, holdfast.Answered(answer)
	}
}

// Get hands on an object, from byte start on, up to end, which does not belong to it and may lie behind the object's.
func (s *Store) Get(path string, start, end uint64, into holdfast.Sink) error {
	found, err := s.Head(path)
	if err != nil {
		return err
	}
	if found == nil {
		return holdfast.NotFound(path)
	}
	if err := into.Begin(found.SizeBytes, found.Tag); err != nil {
		return err
	}
	end = min(end, found.SizeBytes)
	if start >= end {
		return nil
	}
	ranged := map[string]string{"range": fmt.Sprintf("bytes=%d-%d", start, end-1)}
	answer, err := s.host.Download(holdfast.Request{URL: s.at(path), Headers: ranged})
	if err != nil {
		return err
	}
	defer answer.Close()
	if answer.Head().Status != 206 {
		whole, err := holdfast.Whole(answer)
		if err != nil {
			return err
		}
		return holdfast.Answered(whole)
	}
	for left := end - start; left > 0; {
		piece, err := answer.Read()
		if err != nil {
			return err
		}
		if len(piece) == 0 {
			// The agent takes it up again where it broke off.
			return &holdfast.Error{Code: "unavailable", Message: "the answer ended early"}
		}
		left -= min(left, uint64(len(piece)))
		if err := into.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// Head is one object; nil when there is none.
func (s *Store) Head(path string) (*holdfast.Stored, error) {
	answer, err := s.host.Send(holdfast.Request{Method: "HEAD", URL: s.at(path)})
	if err != nil || answer.Status == 404 {
		return nil, err
	}
	if answer.Status != 200 {
		return nil, holdfast.Answered(answer)
	}
	size, err := strconv.ParseUint(answer.Headers["content-length"], 10, 64)
	if err != nil {
		return nil, &holdfast.Error{Code: "server", Message: "it does not tell a size"}
	}
	return &holdfast.Stored{Path: path, SizeBytes: size, Tag: answer.Headers["etag"]}, nil
}

// List gives at most limit objects whose path begins with prefix, in the order of paths. After is what the last page handed on.
func (s *Store) List(prefix, after string, limit uint32) (holdfast.Page, error) {
	// Paths, and so prefixes and what was handed on, need no encoding.
	answer, err := s.host.Send(holdfast.Request{URL: s.at(fmt.Sprintf("?prefix=%s&after=%s&limit=%d", prefix, after, limit))})
	if err != nil {
		return holdfast.Page{}, err
	}
	if answer.Status != 200 {
		return holdfast.Page{}, holdfast.Answered(answer)
	}
	var listed struct {
		Objects []struct {
			Path      string `json:"path"`
			SizeBytes uint64 `json:"size_bytes"`
		} `json:"objects"`
		Next string `json:"next"`
	}
	if json.Unmarshal(answer.Body, &listed) != nil {
		return holdfast.Page{}, &holdfast.Error{Code: "server", Message: "it answers with something that is no listing"}
	}
	page := holdfast.Page{Next: listed.Next}
	for _, entry := range listed.Objects {
		page.Objects = append(page.Objects, holdfast.Stored{Path: entry.Path, SizeBytes: entry.SizeBytes})
	}
	return page, nil
}

// Delete removes an object. One that is not there is no error.
func (s *Store) Delete(path string) error {
	answer, err := s.host.Send(holdfast.Request{Method: "DELETE", URL: s.at(path)})
	if err != nil || answer.Status == 404 || answer.Status >= 200 && answer.Status < 300 {
		return err
	}
	return holdfast.Answered(answer)
}

// Sweep removes what writers left that died longer ago, and tells how many. Called only when the feature sweep is promised.
func (s *Store) Sweep(ageSeconds uint64) (uint64, error) { return 0, nil }
