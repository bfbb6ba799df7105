// Package export_holdfast_store_objects hands the agent's calls to the store, and its answers to the agent.
package export_holdfast_store_objects

import (
	"errors"
	"math"

	witTypes "go.bytecodealliance.org/pkg/wit/types"

	"example.com/{{name}}/agent/client"
	log "example.com/{{name}}/agent/holdfast_host_log"
	contract "example.com/{{name}}/agent/holdfast_store_objects"
	transfer "example.com/{{name}}/agent/holdfast_store_transfer"
	"example.com/{{name}}/agent/memory"
	"example.com/{{name}}/holdfast"
	"example.com/{{name}}/store"
)

func init() { holdfast.Log = log.Write }

type facts = []witTypes.Tuple2[string, string]

func open(config string, told facts) (*store.Store, error) {
	context := holdfast.Context{}
	for _, fact := range told {
		context[fact.F0] = fact.F1
	}
	return store.Open(config, context, client.Host{})
}

// answer is what a call gives, or why it could not be done.
func answer[T any](value T, err error) witTypes.Result[T, contract.Error] {
	if err == nil {
		return witTypes.Ok[T, contract.Error](value)
	}
	refusal := contract.Error{Code: "error", Message: err.Error()}
	var own *holdfast.Error
	if errors.As(err, &own) {
		refusal.Code = own.Code
		for _, pair := range own.Attributes {
			refusal.Attributes = append(refusal.Attributes, witTypes.Tuple2[string, string]{F0: pair.Name, F1: pair.Value})
		}
	}
	return witTypes.Err[T](refusal)
}

// Features are what the store promises with this config.
func Features(config string) witTypes.Result[[]string, contract.Error] {
	return answer(store.Features(config))
}

func Probe(config string, context facts) witTypes.Result[witTypes.Unit, contract.Error] {
	opened, err := open(config, context)
	if err == nil {
		err = opened.Probe()
	}
	return answer(witTypes.Unit{}, err)
}

func Put(config string, context facts, path string, lent *contract.Body) witTypes.Result[uint64, contract.Error] {
	// Before the call ends, as the contract asks.
	defer lent.Drop()
	opened, err := open(config, context)
	if err != nil {
		return answer[uint64](0, err)
	}
	return answer(opened.Put(path, &body{lent}))
}

func Get(config string, context facts, path string, start uint64, end witTypes.Option[uint64], into *contract.Sink) witTypes.Result[witTypes.Unit, contract.Error] {
	defer into.Drop()
	opened, err := open(config, context)
	if err == nil {
		err = opened.Get(path, start, end.SomeOr(math.MaxUint64), &sink{into})
	}
	return answer(witTypes.Unit{}, err)
}

func Head(config string, context facts, path string) witTypes.Result[witTypes.Option[contract.Object], contract.Error] {
	none := witTypes.None[contract.Object]()
	opened, err := open(config, context)
	if err != nil {
		return answer(none, err)
	}
	found, err := opened.Head(path)
	if found == nil {
		return answer(none, err)
	}
	return answer(witTypes.Some(object(*found)), err)
}

func List(config string, context facts, prefix string, after witTypes.Option[string], limit uint32) witTypes.Result[contract.Page, contract.Error] {
	opened, err := open(config, context)
	if err != nil {
		return answer(contract.Page{}, err)
	}
	found, err := opened.List(prefix, after.SomeOr(""), limit)
	page := contract.Page{Next: witTypes.None[string]()}
	if found.Next != "" {
		page.Next = witTypes.Some(found.Next)
	}
	for _, one := range found.Objects {
		page.Objects = append(page.Objects, object(one))
	}
	return answer(page, err)
}

func Delete(config string, context facts, path string) witTypes.Result[witTypes.Unit, contract.Error] {
	opened, err := open(config, context)
	if err == nil {
		err = opened.Delete(path)
	}
	return answer(witTypes.Unit{}, err)
}

func Sweep(config string, context facts, ageSeconds uint64) witTypes.Result[uint64, contract.Error] {
	opened, err := open(config, context)
	if err != nil {
		return answer[uint64](0, err)
	}
	return answer(opened.Sweep(ageSeconds))
}

func object(found holdfast.Stored) contract.Object {
	given := contract.Object{Path: found.Path, SizeBytes: found.SizeBytes, Modified: witTypes.None[int64](), Tag: found.Tag}
	if found.Modified != 0 {
		given.Modified = witTypes.Some(found.Modified)
	}
	if found.LockedUntil != "" {
		given.Attributes = facts{{F0: "locked-until", F1: found.LockedUntil}}
	}
	return given
}

// transferred is that a body breaks off, or that nobody reads from a sink.
func transferred(err transfer.Error) error {
	return &holdfast.Error{Code: err.Code, Message: err.Message}
}

type body struct {
	lent *contract.Body
}

func (b *body) SizeBytes() (uint64, bool) {
	size := b.lent.SizeBytes()
	return size.SomeOr(0), size.IsSome()
}

func (b *body) Read(maxBytes uint32) ([]byte, error) {
	memory.Tend()
	piece := b.lent.Read(maxBytes)
	if piece.IsErr() {
		return nil, transferred(piece.Err())
	}
	return piece.Ok(), nil
}

type sink struct {
	lent *contract.Sink
}

func (s *sink) Begin(sizeBytes uint64, tag string) error {
	if begun := s.lent.Begin(sizeBytes, tag); begun.IsErr() {
		return transferred(begun.Err())
	}
	return nil
}

func (s *sink) Write(bytes []byte) error {
	if written := s.lent.Write(bytes); written.IsErr() {
		return transferred(written.Err())
	}
	return nil
}
