// Package export_holdfast_script_run hands the restored etcd to the script, and its report to the agent.
package export_holdfast_script_run

import (
	"errors"

	witTypes "go.bytecodealliance.org/pkg/wit/types"

	"example.com/{{name}}/agent/answer"
	log "example.com/{{name}}/agent/holdfast_host_log"
	etcd "example.com/{{name}}/agent/holdfast_script_database"
	contract "example.com/{{name}}/agent/holdfast_script_run"
	"example.com/{{name}}/agent/memory"
	"example.com/{{name}}/holdfast"
	"example.com/{{name}}/script"
)

// Rows and bytes asked for at once: more make a row no cheaper, and one value can have 1.5 MiB.
const (
	batchRows  = 256
	batchBytes = 1 << 20
)

func init() { holdfast.Log = log.Write }

// Run is called once for each run, in a fresh instance.
func Run(lent *contract.Database, facts []witTypes.Tuple2[string, string], config string) witTypes.Result[contract.Report, contract.Error] {
	context := holdfast.Context{}
	for _, fact := range facts {
		context[fact.F0] = fact.F1
	}
	report, err := script.Run(holdfast.Database{Client: &client{lent}}, context, config)
	lent.Drop()
	if err != nil {
		return witTypes.Err[contract.Report](refusal(err))
	}
	return witTypes.Ok[contract.Report, contract.Error](answer.Of(report))
}

func refusal(err error) contract.Error {
	var own *holdfast.Error
	var refused *holdfast.ReadError
	switch {
	case errors.As(err, &own):
		return contract.Error{Code: own.Code, Message: err.Error()}
	case errors.As(err, &refused):
		return contract.Error{Code: "database", Message: err.Error()}
	default:
		return contract.Error{Code: "error", Message: err.Error()}
	}
}

// client is the agent's etcd. Its handles are dropped by hand: left to the garbage collector they could go in the middle of a call.
type client struct {
	database *contract.Database
}

// given is what a call gives, or why it could not be done.
func given[T any](result witTypes.Result[T, etcd.Error]) (T, error) {
	if result.IsErr() {
		var none T
		return none, &holdfast.ReadError{Code: result.Err().Code, Message: result.Err().Message}
	}
	return result.Ok(), nil
}

func ask(query holdfast.Query) *etcd.Query {
	asked := etcd.MakeQuery()
	if len(query.Prefix) > 0 {
		asked.Prefix(query.Prefix)
	}
	if len(query.Start) > 0 || len(query.End) > 0 {
		asked.Range(query.Start, query.End)
	}
	if query.ChangedAfter > 0 {
		asked.ChangedAfter(query.ChangedAfter)
	}
	if query.At > 0 {
		asked.At(query.At)
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

func (c *client) Status() (map[string]string, error) {
	memory.Tend()
	told, err := given(c.database.Status())
	status := map[string]string{}
	for _, fact := range told {
		status[fact.F0] = fact.F1
	}
	return status, err
}

func (c *client) Get(key []byte) (*holdfast.Row, error) {
	memory.Tend()
	found, err := given(c.database.Get(key))
	if err != nil || found.IsNone() {
		return nil, err
	}
	return row(found.Some()), nil
}

func row(of etcd.KeyValue) *holdfast.Row {
	return &holdfast.Row{
		Key: of.Key, Value: of.Value,
		CreateRevision: of.CreateRevision, ModRevision: of.ModRevision, Version: of.Version, Lease: of.Lease,
	}
}

func (c *client) Count(query holdfast.Query) (uint64, error) {
	memory.Tend()
	asked := ask(query)
	defer asked.Drop()
	return given(c.database.Count(asked))
}

func (c *client) Open(query holdfast.Query) (holdfast.Cursor, error) {
	memory.Tend()
	asked := ask(query)
	defer asked.Drop()
	opened, err := given(c.database.Open(asked))
	if err != nil {
		return nil, err
	}
	return &cursor{opened}, nil
}

func (c *client) Put(key, value []byte, lease int64) (int64, error) {
	memory.Tend()
	return given(c.database.Put(key, value, lease))
}

func (c *client) Delete(query holdfast.Query) (uint64, error) {
	memory.Tend()
	asked := ask(query)
	defer asked.Drop()
	return given(c.database.Delete(asked))
}

func (c *client) HashKV(revision int64) (holdfast.Hash, error) {
	memory.Tend()
	hash, err := given(c.database.HashKv(revision))
	return holdfast.Hash{Hash: hash.Hash, Revision: hash.Revision, CompactRevision: hash.CompactRevision}, err
}

func (c *client) Commit(transaction holdfast.Transaction) (holdfast.Committed, error) {
	memory.Tend()
	made := etcd.MakeTransaction()
	defer made.Drop()
	if err := compose(made, transaction); err != nil {
		return holdfast.Committed{}, err
	}
	came, err := given(c.database.Commit(made))
	committed := holdfast.Committed{Succeeded: came.Succeeded, Revision: came.Revision}
	for _, one := range came.Answers {
		told := holdfast.Answered{Count: one.Count}
		if one.Row.IsSome() {
			told.Row = row(one.Row.Some())
		}
		committed.Answers = append(committed.Answers, told)
	}
	return committed, err
}

func compose(made *etcd.Transaction, transaction holdfast.Transaction) error {
	for _, one := range transaction.When {
		var err error
		if one.Number == "" {
			_, err = given(made.CompareValue(one.Key, one.Operator, one.Value))
		} else {
			_, err = given(made.CompareNumber(one.Key, one.Number, one.Operator, one.Of))
		}
		if err != nil {
			return err
		}
	}
	for branch, operations := range map[string][]holdfast.Operation{"success": transaction.Then, "failure": transaction.Otherwise} {
		for _, one := range operations {
			var err error
			switch one.Do {
			case holdfast.DoPut:
				_, err = given(made.Put(branch, one.Key, one.Value, one.Lease))
			case holdfast.DoDelete:
				_, err = given(made.Delete(branch, one.Key))
			default:
				_, err = given(made.Get(branch, one.Key))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *client) Grant(seconds int64) (holdfast.Lease, error) {
	memory.Tend()
	granted, err := given(c.database.Grant(seconds))
	if err != nil {
		return nil, err
	}
	return &lease{granted}, nil
}

func (c *client) Lease(id int64) holdfast.Lease { return &lease{c.database.Lease(id)} }

func (c *client) Leases() ([]int64, error) {
	memory.Tend()
	return given(c.database.Leases())
}

func (c *client) Watch(query holdfast.Query) (holdfast.Watch, error) {
	memory.Tend()
	asked := ask(query)
	defer asked.Drop()
	begun, err := given(c.database.Watch(asked))
	if err != nil {
		return nil, err
	}
	return &watch{begun}, nil
}

type cursor struct {
	handle *etcd.Cursor
}

func (c *cursor) Next() (holdfast.Batch, error) {
	memory.Tend()
	rows, err := given(c.handle.Next(batchRows, batchBytes))
	return holdfast.Batch{
		Keys: rows.Keys, KeyEnds: rows.KeyEnds, Values: rows.Values, ValueEnds: rows.ValueEnds,
		CreateRevisions: rows.CreateRevisions, ModRevisions: rows.ModRevisions, Versions: rows.Versions, Leases: rows.Leases,
	}, err
}

func (c *cursor) Close() { c.handle.Drop() }

type lease struct {
	handle *etcd.Lease
}

func (l *lease) ID() int64                 { return l.handle.Id() }
func (l *lease) KeepAlive() (int64, error) { return given(l.handle.KeepAlive()) }
func (l *lease) Close()                    { l.handle.Drop() }

func (l *lease) TimeToLive() (holdfast.TimeToLive, error) {
	memory.Tend()
	left, err := given(l.handle.TimeToLive())
	return holdfast.TimeToLive(left), err
}

func (l *lease) Revoke() error {
	_, err := given(l.handle.Revoke())
	return err
}

type watch struct {
	handle *etcd.Watch
}

func (w *watch) Close() { w.handle.Drop() }

func (w *watch) Next(most, timeoutMilliseconds uint32) ([]holdfast.Event, error) {
	memory.Tend()
	changes, err := given(w.handle.Next(most, timeoutMilliseconds))
	var events []holdfast.Event
	for _, change := range changes {
		event := holdfast.Event{Kind: change.Kind, Row: *row(change.Row)}
		if change.Previous.IsSome() {
			event.Previous = row(change.Previous.Some())
		}
		events = append(events, event)
	}
	return events, err
}
