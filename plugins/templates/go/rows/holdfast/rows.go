package holdfast

import (
	"fmt"
	"iter"
	"slices"
)

// Columns says which columns a scan fills. Values that are left out are never read.
type Columns int

const (
	AllColumns Columns = iota
	Keys
	KeysAndValues
)

// Row is one live key. What the columns left out is empty or 0. The bytes are lent until the next row.
type Row struct {
	Key, Value                                  []byte
	CreateRevision, ModRevision, Version, Lease int64
}

// Batch is rows in columns, as they cross over: row i's key is Keys[KeyEnds[i-1]:KeyEnds[i]], its value likewise.
type Batch struct {
	Keys, Values                                    []byte
	KeyEnds, ValueEnds                              []uint32
	CreateRevisions, ModRevisions, Versions, Leases []int64
}

// ReadError is why the agent cannot answer, in a code of the contract: of a snapshot damaged, compacted, future or limit, for one.
type ReadError struct {
	Code, Message string
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("%s (%s): %s", unread, e.Code, e.Message)
}

// Cursor hands out the batches of a scan; one without rows is the end.
type Cursor interface {
	Next() (Batch, error)
	Close()
}

// walk gives the rows of a cursor, which is opened when the first one is asked for, and closed at the end.
func walk(open func() (Cursor, error)) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		cursor, err := open()
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
