package holdfast

import (
	"bytes"
	"slices"
)

// Memory is a snapshot made up in memory, for tests: it answers every query as the agent does.
type Memory struct {
	rows  []Row
	Facts map[string]string
	// Above 0, every scan fails once it has handed out this many rows.
	DamagedAfter int
}

// Put adds a key at the next revision, and gives back the snapshot.
func (m *Memory) Put(key, value string) *Memory {
	revision := m.Revision() + 1
	at, found := slices.BinarySearchFunc(m.rows, []byte(key), func(row Row, key []byte) int { return bytes.Compare(row.Key, key) })
	row := Row{Key: []byte(key), Value: []byte(value), CreateRevision: revision, ModRevision: revision, Version: 1}
	if found {
		row.CreateRevision, row.Version = m.rows[at].CreateRevision, m.rows[at].Version+1
		m.rows[at] = row
	} else {
		m.rows = slices.Insert(m.rows, at, row)
	}
	return m
}

// Snapshot is the view that a verifier gets.
func (m *Memory) Snapshot() Snapshot { return Snapshot{m} }

func (m *Memory) Revision() int64 {
	newest := int64(1)
	for _, row := range m.rows {
		newest = max(newest, row.ModRevision)
	}
	return newest
}

func (m *Memory) CompactRevision() int64 { return 0 }

func (m *Memory) SizeBytes() uint64 {
	totals, _ := m.Totals(Query{})
	return totals.KeyBytes + totals.ValueBytes
}

func (m *Memory) LiveKeys() (uint64, error) { return uint64(len(m.rows)), nil }

func (m *Memory) Fact(name string) (string, bool) {
	value, known := m.Facts[name]
	return value, known
}

func (m *Memory) Get(key []byte) (*Row, error) {
	for _, row := range m.rows {
		if bytes.Equal(row.Key, key) {
			return &row, nil
		}
	}
	return nil, nil
}

func (m *Memory) matching(query Query) []Row {
	var rows []Row
	for _, row := range m.rows {
		if bytes.HasPrefix(row.Key, query.Prefix) && bytes.Compare(row.Key, query.Start) >= 0 &&
			(len(query.End) == 0 || bytes.Compare(row.Key, query.End) < 0) && bytes.Contains(row.Key, query.KeyContains) &&
			bytes.HasPrefix(row.Value, query.ValuePrefix) && row.ModRevision > query.ChangedAfter {
			rows = append(rows, row)
		}
	}
	if query.Descending {
		slices.Reverse(rows)
	}
	if query.Limit > 0 && query.Limit < uint64(len(rows)) {
		rows = rows[:query.Limit]
	}
	return rows
}

func (m *Memory) Totals(query Query) (Totals, error) {
	var totals Totals
	for _, row := range m.matching(query) {
		totals.Keys++
		totals.KeyBytes += uint64(len(row.Key))
		totals.ValueBytes += uint64(len(row.Value))
	}
	return totals, nil
}

func (m *Memory) Open(query Query) (Cursor, error) {
	return &memoryCursor{rows: m.matching(query), columns: query.Columns, damagedAfter: m.DamagedAfter}, nil
}
