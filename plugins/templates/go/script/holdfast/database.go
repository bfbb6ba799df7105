package holdfast

import "iter"

// What is said when it cannot be done.
const unread = "the database cannot be asked"

// Query says which keys. The zero Query is every live key, ascending; every field that is set narrows it.
type Query struct {
	Prefix []byte
	// Keys in [Start, End).
	Start, End   []byte
	ChangedAfter int64
	// The keys as they were at this revision; 0 for now.
	At         int64
	Descending bool
	// At most this many rows; 0 for all.
	Limit   uint64
	Columns Columns
}

// Prefix is the query for the keys that begin so.
func Prefix(prefix string) Query { return Query{Prefix: []byte(prefix)} }

// Client is the restored etcd: the agent's, or a Memory in tests. An error is a ReadError with a code of the contract.
type Client interface {
	// Status is what it says of itself, by name: version, revision, db-size, …
	Status() (map[string]string, error)
	// Get is one key; nil when there is none.
	Get(key []byte) (*Row, error)
	Count(query Query) (uint64, error)
	Open(query Query) (Cursor, error)
	// Put sets a key, with a lease or 0, and tells the revision.
	Put(key, value []byte, lease int64) (int64, error)
	// Delete removes the keys of a query, and tells how many there were.
	Delete(query Query) (uint64, error)
	// HashKV is a checksum over all keys with their history, at a revision or 0.
	HashKV(revision int64) (Hash, error)
	Commit(transaction Transaction) (Committed, error)
	// Grant makes a lease, Lease is one by its id, from the backup for one.
	Grant(seconds int64) (Lease, error)
	Lease(id int64) Lease
	Leases() ([]int64, error)
	// Watch tells of changes from now on, or since the query's ChangedAfter.
	Watch(query Query) (Watch, error)
}

// Database is what a script works with. It is thrown away afterwards.
type Database struct {
	Client
}

// Rows are the rows of a query, all of one revision:
//
//	for row, err := range database.Rows(query) {
//		if err != nil {
//			return nil, err
//		}
func (d Database) Rows(query Query) iter.Seq2[Row, error] {
	return walk(func() (Cursor, error) { return d.Open(query) })
}

// Hash is etcd's HashKV.
type Hash struct {
	Hash                      uint32
	Revision, CompactRevision int64
}

// Comparison is of a key's value, or with Number (create-revision, mod-revision, version or lease) of that. Operators: = != < >
type Comparison struct {
	Key      []byte
	Number   string
	Operator string
	Value    []byte
	Of       int64
}

// Doing is what an operation does.
type Doing int

const (
	DoGet Doing = iota
	DoPut
	DoDelete
)

// Operation is one of a transaction.
type Operation struct {
	Do         Doing
	Key, Value []byte
	Lease      int64
}

// Transaction does Then when all comparisons hold, otherwise Otherwise.
type Transaction struct {
	When            []Comparison
	Then, Otherwise []Operation
}

// Answered is what one operation came to: what a read found, and how many keys were there.
type Answered struct {
	Row   *Row
	Count uint64
}

// Committed is what a transaction came to.
type Committed struct {
	Succeeded bool
	Revision  int64
	Answers   []Answered
}

// Lease is a handle to a lease. Close lets go of the handle, and does not end the lease.
type Lease interface {
	ID() int64
	// KeepAlive renews it, and tells the seconds that it has again.
	KeepAlive() (int64, error)
	TimeToLive() (TimeToLive, error)
	// Revoke ends it and deletes its keys.
	Revoke() error
	Close()
}

// TimeToLive is what is left of a lease, and which keys hang on it.
type TimeToLive struct {
	RemainingSeconds, GrantedSeconds int64
	Keys                             [][]byte
}

// Watch hands out changes, oldest first. Close ends it.
type Watch interface {
	// Next gives at most so many changes, as soon as there is one; none when there was none for so long.
	Next(most, timeoutMilliseconds uint32) ([]Event, error)
	Close()
}

// Event is a change: Kind is put or delete. Previous is the key as it was before, where the database still has it.
type Event struct {
	Kind     string
	Row      Row
	Previous *Row
}
