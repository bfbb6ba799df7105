package holdfast

import "iter"

// What is said when it cannot be done.
const unread = "the snapshot cannot be read"

// Query says which rows. The zero Query is every live key, ascending; every field that is set narrows it. The agent does all of this on the
// file: ask narrowly.
type Query struct {
	Prefix []byte
	// Keys in [Start, End).
	Start, End   []byte
	KeyContains  []byte
	ValuePrefix  []byte
	ChangedAfter int64
	Descending   bool
	// At most this many rows; 0 for all.
	Limit   uint64
	Columns Columns
}

// Prefix is the query for the keys that begin so.
func Prefix(prefix string) Query { return Query{Prefix: []byte(prefix)} }

// Totals are sums over the rows of a query.
type Totals struct {
	Keys, KeyBytes, ValueBytes uint64
}

// Source is where rows come from: the agent, or a Memory in tests.
type Source interface {
	// Revision is the newest in the file, CompactRevision the one up to which history was compacted.
	Revision() int64
	CompactRevision() int64
	SizeBytes() uint64
	LiveKeys() (uint64, error)
	// Fact is a further fact by name, e.g. storage-version.
	Fact(name string) (string, bool)
	// Get is one key; nil when there is none.
	Get(key []byte) (*Row, error)
	Open(query Query) (Cursor, error)
	// Totals are sums made by the agent: no row crosses over.
	Totals(query Query) (Totals, error)
}

// Snapshot is what a verifier looks into.
type Snapshot struct {
	Source
}

// Rows are the rows of a query:
//
//	for row, err := range snapshot.Rows(query) {
//		if err != nil {
//			return nil, err
//		}
func (s Snapshot) Rows(query Query) iter.Seq2[Row, error] {
	return walk(func() (Cursor, error) { return s.Open(query) })
}

// Contains says whether there is such a key; its value is not read.
func (s Snapshot) Contains(key string) (bool, error) {
	totals, err := s.Totals(Query{Start: []byte(key), End: append([]byte(key), 0)})
	return totals.Keys > 0, err
}
