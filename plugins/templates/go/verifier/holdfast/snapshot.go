package holdfast

import (
	"fmt"
	"iter"
	"slices"
)

// Columns says which columns a scan fills. Values that are left out are never read from the file.
type Columns int

const (
	AllColumns Columns = iota
	Keys
	KeysAndValues
)

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

// Row is one live key. What the columns left out is empty or 0. The bytes are lent until the next row.
type Row struct {
	Key, Value                                  []byte
	CreateRevision, ModRevision, Version, Lease int64
}

// Totals are sums over the rows of a query.
type Totals struct {
	Keys, KeyBytes, ValueBytes uint64
}

// Batch is rows in columns, as they cross over: row i's key is Keys[KeyEnds[i-1]:KeyEnds[i]], its value likewise.
type Batch struct {
	Keys, Values                                    []byte
	KeyEnds, ValueEnds                              []uint32
	CreateRevisions, ModRevisions, Versions, Leases []int64
}

// ReadError is why a snapshot cannot be read. Code: damaged, compacted, future or limit.
type ReadError struct {
	Code, Message string
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("the snapshot cannot be read (%s): %s", e.Code, e.Message)
}

// Cursor hands out the batches of a scan; one without rows is the end.
type Cursor interface {
	Next() (Batch, error)
	Close()
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
	return func(yield func(Row, error) bool) {
		cursor, err := s.Open(query)
		if err != nil {
			yield(Row{}, err)
			return
		}
		defer cursor.Close()
		for {
			batch, err := cursor.Next()
			if err == nil {
				err = batch.check()
			}
			if err != nil {
				yield(Row{}, err)
				return
			}
			count := batch.len()
			if count == 0 {
				return
			}
			for index := range count {
				if !yield(batch.row(index), nil) {
					return
				}
			}
		}
	}
}

// Contains says whether there is such a key; its value is not read.
func (s Snapshot) Contains(key string) (bool, error) {
	totals, err := s.Totals(Query{Start: []byte(key), End: append([]byte(key), 0)})
	return totals.Keys > 0, err
}

func (b *Batch) len() int {
	return max(len(b.KeyEnds), len(b.ValueEnds), len(b.CreateRevisions))
}

// check sees that no row reaches outside of its columns.
func (b *Batch) check() error {
	count := b.len()
	fits := func(length int) bool { return length == 0 || length == count }
	ends := func(ends []uint32, bytes []byte) bool {
		return slices.IsSorted(ends) && (len(ends) == 0 || int(ends[len(ends)-1]) <= len(bytes))
	}
	whole := fits(len(b.KeyEnds)) && fits(len(b.ValueEnds)) && fits(len(b.CreateRevisions)) && fits(len(b.ModRevisions)) &&
		fits(len(b.Versions)) && fits(len(b.Leases)) && ends(b.KeyEnds, b.Keys) && ends(b.ValueEnds, b.Values)
	if !whole {
		return &ReadError{"damaged", "a batch of rows has columns that do not fit together"}
	}
	return nil
}

func (b *Batch) row(index int) Row {
	slice := func(bytes []byte, ends []uint32) []byte {
		if len(ends) == 0 {
			return nil
		}
		start := uint32(0)
		if index > 0 {
			start = ends[index-1]
		}
		return bytes[start:ends[index]:ends[index]]
	}
	integer := func(column []int64) int64 {
		if len(column) == 0 {
			return 0
		}
		return column[index]
	}
	return Row{
		Key: slice(b.Keys, b.KeyEnds), Value: slice(b.Values, b.ValueEnds),
		CreateRevision: integer(b.CreateRevisions), ModRevision: integer(b.ModRevisions),
		Version: integer(b.Versions), Lease: integer(b.Leases),
	}
}
