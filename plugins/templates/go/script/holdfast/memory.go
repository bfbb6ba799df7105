package holdfast

import (
	"bytes"
	"slices"
	"strconv"
)

// Memory is an etcd made up in memory, for tests: keys without history, and no leases, watches or transactions.
type Memory struct {
	Client
	rows     []Row
	revision int64
}

// With adds a key, and gives back the etcd.
func (m *Memory) With(key, value string) *Memory {
	m.Put([]byte(key), []byte(value), 0)
	return m
}

// Database is what a script is given.
func (m *Memory) Database() Database { return Database{m} }

func (m *Memory) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(m.rows, key, func(row Row, key []byte) int { return bytes.Compare(row.Key, key) })
}

func (m *Memory) Put(key, value []byte, lease int64) (int64, error) {
	// An etcd begins at 1.
	m.revision = max(m.revision, 1) + 1
	row := Row{Key: slices.Clone(key), Value: slices.Clone(value), CreateRevision: m.revision, ModRevision: m.revision, Version: 1, Lease: lease}
	at, found := m.find(key)
	if found {
		row.CreateRevision, row.Version = m.rows[at].CreateRevision, m.rows[at].Version+1
		m.rows[at] = row
	} else {
		m.rows = slices.Insert(m.rows, at, row)
	}
	return m.revision, nil
}

func (m *Memory) Status() (map[string]string, error) {
	return map[string]string{"version": "3.6.0", "revision": strconv.FormatInt(max(m.revision, 1), 10)}, nil
}

func (m *Memory) Get(key []byte) (*Row, error) {
	if at, found := m.find(key); found {
		row := m.rows[at]
		return &row, nil
	}
	return nil, nil
}

func (m *Memory) matching(query Query) []Row {
	var rows []Row
	for _, row := range m.rows {
		if bytes.HasPrefix(row.Key, query.Prefix) && bytes.Compare(row.Key, query.Start) >= 0 &&
			(len(query.End) == 0 || bytes.Compare(row.Key, query.End) < 0) && row.ModRevision > query.ChangedAfter {
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

func (m *Memory) Count(query Query) (uint64, error) { return uint64(len(m.matching(query))), nil }

func (m *Memory) Open(query Query) (Cursor, error) {
	if query.At > 0 {
		return nil, &ReadError{"unsupported", "a database in memory has no history"}
	}
	return &memoryCursor{rows: m.matching(query), columns: query.Columns}, nil
}

func (m *Memory) Delete(query Query) (uint64, error) {
	gone := m.matching(Query{Prefix: query.Prefix, Start: query.Start, End: query.End})
	for _, row := range gone {
		at, _ := m.find(row.Key)
		m.rows = slices.Delete(m.rows, at, at+1)
	}
	if len(gone) > 0 {
		m.revision++
	}
	return uint64(len(gone)), nil
}
