// Package export_holdfast_verifier_verify hands the agent's snapshot to the check, and its report to the agent.
package export_holdfast_verifier_verify

import (
	"errors"

	witTypes "go.bytecodealliance.org/pkg/wit/types"

	"example.com/{{name}}/agent/answer"
	log "example.com/{{name}}/agent/holdfast_host_log"
	reader "example.com/{{name}}/agent/holdfast_snapshot_reader"
	contract "example.com/{{name}}/agent/holdfast_verifier_verify"
	"example.com/{{name}}/agent/memory"
	"example.com/{{name}}/check"
	"example.com/{{name}}/holdfast"
)

// Rows and bytes asked for at once: more make a row no cheaper, and one value can have 1.5 MiB.
const (
	batchRows  = 256
	batchBytes = 1 << 20
)

func init() { holdfast.Log = log.Write }

// Verify is called once for each run, in a fresh instance.
func Verify(subject *contract.Snapshot, facts []witTypes.Tuple2[string, string], config string) witTypes.Result[contract.Report, contract.Error] {
	context := holdfast.Context{}
	for _, fact := range facts {
		context[fact.F0] = fact.F1
	}
	report, err := check.Verify(holdfast.Snapshot{Source: &source{subject}}, context, config)
	subject.Drop()
	if err != nil {
		return witTypes.Err[contract.Report](refusal(err))
	}
	return witTypes.Ok[contract.Report, contract.Error](answer.Of(report))
}

func refusal(err error) contract.Error {
	var own *holdfast.Error
	var read *holdfast.ReadError
	switch {
	case errors.As(err, &own):
		return contract.Error{Code: own.Code, Message: err.Error()}
	case errors.As(err, &read):
		return contract.Error{Code: "snapshot", Message: err.Error()}
	default:
		return contract.Error{Code: "error", Message: err.Error()}
	}
}

// source is the agent's snapshot. Its handles are dropped by hand: left to the garbage collector they could go in the middle of a call.
type source struct {
	subject *contract.Snapshot
}

func readError(err reader.Error) error {
	return &holdfast.ReadError{Code: err.Code, Message: err.Message}
}

func ask(query holdfast.Query) *reader.Query {
	asked := reader.MakeQuery()
	if len(query.Prefix) > 0 {
		asked.Prefix(query.Prefix)
	}
	if len(query.Start) > 0 || len(query.End) > 0 {
		asked.Range(query.Start, query.End)
	}
	if len(query.KeyContains) > 0 {
		asked.KeyContains(query.KeyContains)
	}
	if len(query.ValuePrefix) > 0 {
		asked.ValuePrefix(query.ValuePrefix)
	}
	if query.ChangedAfter > 0 {
		asked.ChangedAfter(query.ChangedAfter)
	}
	if query.Descending {
		asked.Descending()
	}
	if query.Limit > 0 {
		asked.Limit(query.Limit)
	}
	asked.Columns(true, query.Columns != holdfast.Keys, query.Columns == holdfast.AllColumns)
	return asked
}

func (s *source) Revision() int64        { return s.subject.Revision() }
func (s *source) CompactRevision() int64 { return s.subject.CompactRevision() }
func (s *source) SizeBytes() uint64      { return s.subject.SizeBytes() }

func (s *source) LiveKeys() (uint64, error) {
	keys := s.subject.LiveKeys()
	if keys.IsErr() {
		return 0, readError(keys.Err())
	}
	return keys.Ok(), nil
}

func (s *source) Fact(name string) (string, bool) {
	fact := s.subject.Fact(name)
	return fact.SomeOr(""), fact.IsSome()
}

func (s *source) Get(key []byte) (*holdfast.Row, error) {
	memory.Tend()
	answer := s.subject.Get(key)
	if answer.IsErr() {
		return nil, readError(answer.Err())
	}
	if answer.Ok().IsNone() {
		return nil, nil
	}
	live := answer.Ok().Some()
	return &holdfast.Row{
		Key: live.Key, Value: live.Value,
		CreateRevision: live.CreateRevision, ModRevision: live.ModRevision, Version: live.Version, Lease: live.Lease,
	}, nil
}

func (s *source) Totals(query holdfast.Query) (holdfast.Totals, error) {
	memory.Tend()
	asked := ask(query)
	defer asked.Drop()
	answer := s.subject.Totals(asked)
	if answer.IsErr() {
		return holdfast.Totals{}, readError(answer.Err())
	}
	return holdfast.Totals(answer.Ok()), nil
}

func (s *source) Open(query holdfast.Query) (holdfast.Cursor, error) {
	asked := ask(query)
	defer asked.Drop()
	opened := s.subject.Open(asked)
	if opened.IsErr() {
		return nil, readError(opened.Err())
	}
	return &cursor{opened.Ok()}, nil
}

type cursor struct {
	handle *reader.Cursor
}

func (c *cursor) Next() (holdfast.Batch, error) {
	memory.Tend()
	batch := c.handle.Next(batchRows, batchBytes)
	if batch.IsErr() {
		return holdfast.Batch{}, readError(batch.Err())
	}
	rows := batch.Ok()
	return holdfast.Batch{
		Keys: rows.Keys, KeyEnds: rows.KeyEnds, Values: rows.Values, ValueEnds: rows.ValueEnds,
		CreateRevisions: rows.CreateRevisions, ModRevisions: rows.ModRevisions, Versions: rows.Versions, Leases: rows.Leases,
	}, nil
}

func (c *cursor) Close() { c.handle.Drop() }
