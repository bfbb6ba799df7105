// Command bbolt-files makes database files with bbolt itself that etcd writes on other machines than this one, or that only
// another user of bbolt writes. host/snapshot/tests/make-bbolt.sh keeps them beside the golden snapshots.
//
//	bbolt-files repage SNAPSHOT PAGE_SIZE OUT   the same content in pages of another size, as a snapshot
//	bbolt-files copied SNAPSHOT PAGE_SIZE OUT   the same as a database file out of a data directory, with a list of free pages
//	bbolt-files free PAGES OUT                  a snapshot whose list of free pages has about so many
//	bbolt-files nested SNAPSHOT PAGE_SIZE OUT   the same content beside buckets within buckets, inline and with own pages
//	bbolt-files many SNAPSHOT KEYS VALUE OUT    so many keys more, with values of so many bytes: for measurements
//
// Each prints as JSON what bbolt says of the file. bbolt's own check has passed on it.
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"go.etcd.io/bbolt"
)

func main() {
	args := os.Args[1:]
	switch {
	case len(args) == 4 && args[0] == "repage":
		repage(args[1], number(args[2]), args[3])
	case len(args) == 4 && args[0] == "copied":
		copied(args[1], number(args[2]), args[3])
	case len(args) == 3 && args[0] == "free":
		free(number(args[1]), args[2])
	case len(args) == 4 && args[0] == "nested":
		nested(args[1], number(args[2]), args[3])
	case len(args) == 5 && args[0] == "many":
		many(args[1], number(args[2]), number(args[3]), args[4])
	default:
		fmt.Fprintln(os.Stderr, "usage: bbolt-files repage SNAPSHOT PAGE_SIZE OUT | copied SNAPSHOT PAGE_SIZE OUT | "+
			"free PAGES OUT | nested SNAPSHOT PAGE_SIZE OUT | many SNAPSHOT KEYS VALUE OUT")
		os.Exit(2)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
}

func number(text string) int {
	number, err := strconv.Atoi(text)
	check(err)
	return number
}

// create opens a new database beside where the result goes.
func create(out string, pageSize int, hasFreelist bool) *bbolt.DB {
	path := out + ".work"
	check(os.RemoveAll(path))
	database, err := bbolt.Open(path, 0o600, &bbolt.Options{
		PageSize:       pageSize,
		NoFreelistSync: !hasFreelist,
		FreelistType:   bbolt.FreelistMapType,
		NoSync:         true,
	})
	check(err)
	return database
}

// fill takes over the content of a snapshot.
func fill(database *bbolt.DB, snapshot string) {
	source, err := bbolt.Open(snapshot, 0o400, &bbolt.Options{ReadOnly: true})
	check(err)
	check(bbolt.Compact(database, source, 1<<16))
	check(source.Close())
}

func repage(snapshot string, pageSize int, out string) {
	database := create(out, pageSize, false)
	fill(database, snapshot)
	save(database, out)
}

// copied ends with a writing transaction, so that the two metas name different roots, and bbolt has grown the file in one
// large step: pages follow the high water mark.
func copied(snapshot string, pageSize int, out string) {
	database := create(out, pageSize, true)
	database.AllocSize = 1 << 20
	fill(database, snapshot)
	for range 2 {
		check(database.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists([]byte("test"))
			check(err)
			return tx.DeleteBucket([]byte("test"))
		}))
	}
	tell(database)
	path := database.Path()
	check(database.Close())
	check(os.Rename(path, out))
}

// free writes one value over many pages and takes it away.
func free(pages int, out string) {
	const pageSize = 1024
	database := create(out, pageSize, true)
	name := []byte("test")
	check(database.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucket(name)
		check(err)
		check(bucket.Put([]byte("small"), []byte("value")))
		return bucket.Put([]byte("large"), make([]byte, pages*pageSize))
	}))
	// What a transaction frees is free for the one after the next.
	for range 3 {
		check(database.Update(func(tx *bbolt.Tx) error {
			check(tx.Bucket(name).Delete([]byte("large")))
			return tx.Bucket(name).Put([]byte("small"), []byte("other"))
		}))
	}
	save(database, out)
}

func nested(snapshot string, pageSize int, out string) {
	database := create(out, pageSize, false)
	fill(database, snapshot)
	check(database.Update(func(tx *bbolt.Tx) error {
		plain, err := tx.CreateBucket([]byte("plain"))
		check(err)
		put(plain, 3000, 20)
		check(plain.Put([]byte("large"), make([]byte, 5*pageSize)))
		_, err = tx.CreateBucket([]byte("empty"))
		check(err)
		outer, err := tx.CreateBucket([]byte("outer"))
		check(err)
		put(outer, 10, 10)
		for _, items := range []int{0, 3, 2000} {
			inner, err := outer.CreateBucket(fmt.Appendf(nil, "inner-%d", items))
			check(err)
			put(inner, items, 15)
			check(inner.SetSequence(uint64(items) << 40))
		}
		deep := outer
		for level := range 12 {
			deep, err = deep.CreateBucket(fmt.Appendf(nil, "level-%d", level))
			check(err)
			put(deep, level*40, 8)
		}
		return nil
	}))
	save(database, out)
}

// many puts keys in the order of a sequence that is not theirs, one a revision, as a cluster in use has them.
func many(snapshot string, keys, valueBytes int, out string) {
	const atOnce = 100_000
	database := create(out, 4096, false)
	fill(database, snapshot)
	value := make([]byte, valueBytes)
	for first := 0; first < keys; first += atOnce {
		check(database.Update(func(tx *bbolt.Tx) error {
			bucket := tx.Bucket([]byte("key"))
			bucket.FillPercent = 0.9
			main := uint64(1)
			if last, _ := bucket.Cursor().Last(); last != nil {
				main = binary.BigEndian.Uint64(last)
			}
			for number := first; number < min(first+atOnce, keys); number++ {
				main++
				revision := append(binary.BigEndian.AppendUint64(nil, main), "_\x00\x00\x00\x00\x00\x00\x00\x00"...)
				mixed := uint32(number) * 2654435761
				copy(value, binary.LittleEndian.AppendUint32(nil, mixed))
				name := fmt.Appendf(nil, "/registry/configmaps/namespace-%03d/name-%08x", mixed%500, mixed)
				check(bucket.Put(revision, record(name, main, value)))
			}
			return nil
		}))
	}
	save(database, out)
}

// record is a key's first put as etcd encodes it.
func record(key []byte, revision uint64, value []byte) []byte {
	message := append(binary.AppendUvarint([]byte{0x0a}, uint64(len(key))), key...)
	for _, tag := range []byte{0x10, 0x18} {
		message = binary.AppendUvarint(append(message, tag), revision)
	}
	message = append(message, 0x20, 1)
	if len(value) > 0 {
		message = append(binary.AppendUvarint(append(message, 0x2a), uint64(len(value))), value...)
	}
	return message
}

func put(bucket *bbolt.Bucket, items, valueBytes int) {
	for item := range items {
		value := make([]byte, valueBytes)
		for at := range value {
			value[at] = byte(item * (at + 1))
		}
		check(bucket.Put(fmt.Appendf(nil, "key-%05d", item), value))
	}
}

// save writes the database as etcd streams it: a transaction's view of it, and the SHA-256 behind.
func save(database *bbolt.DB, out string) {
	tell(database)
	file, err := os.Create(out)
	check(err)
	hash := sha256.New()
	check(database.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(io.MultiWriter(file, hash))
		return err
	}))
	_, err = file.Write(hash.Sum(nil))
	check(err)
	check(file.Close())
	path := database.Path()
	check(database.Close())
	check(os.Remove(path))
}

// content is what bbolt finds in a bucket and in those within it.
type content struct {
	Path     []string `json:"path"`
	Sequence uint64   `json:"sequence"`
	Items    int      `json:"items"`
	// CRC32C runs over keys and values; of a bucket within, over its name alone.
	CRC32C uint32 `json:"crc32c"`
}

func tell(database *bbolt.DB) {
	table := crc32.MakeTable(crc32.Castagnoli)
	buckets := []content{}
	var look func(path []string, bucket *bbolt.Bucket)
	look = func(path []string, bucket *bbolt.Bucket) {
		found := content{Path: path, Sequence: bucket.Sequence()}
		check(bucket.ForEach(func(key, value []byte) error {
			found.Items++
			found.CRC32C = crc32.Update(crc32.Update(found.CRC32C, table, key), table, value)
			return nil
		}))
		buckets = append(buckets, found)
		check(bucket.ForEachBucket(func(name []byte) error {
			look(append(append([]string{}, path...), string(name)), bucket.Bucket(name))
			return nil
		}))
	}
	var size int64
	var hash uint32
	check(database.View(func(tx *bbolt.Tx) error {
		for problem := range tx.Check() {
			check(problem)
		}
		size = tx.Size()
		return tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
			look([]string{string(name)}, bucket)
			hash = crc32.Update(hash, table, name)
			return bucket.ForEach(func(key, value []byte) error {
				hash = crc32.Update(crc32.Update(hash, table, key), table, value)
				return nil
			})
		})
	}))
	freePages, known := listed(database.Path(), database.Info().PageSize)
	answer := map[string]any{
		"page_size":   database.Info().PageSize,
		"image_bytes": size,
		"buckets":     buckets,
		// As etcdutl computes it.
		"hash": hash,
	}
	if known {
		answer["free_pages"] = freePages
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	check(encoder.Encode(answer))
}

// listed counts the free pages that the file itself lists, by its newest meta; bbolt tells only those it holds in memory.
func listed(path string, pageSize int) (count uint64, known bool) {
	file, err := os.ReadFile(filepath.Clean(path))
	check(err)
	var newest, list uint64
	for page := range 2 {
		meta := file[page*pageSize+16:]
		if txid := binary.LittleEndian.Uint64(meta[48:]); txid >= newest {
			newest, list = txid, binary.LittleEndian.Uint64(meta[32:])
		}
	}
	if list == ^uint64(0) {
		return 0, false
	}
	page := file[list*uint64(pageSize):]
	short := binary.LittleEndian.Uint16(page[10:])
	if short == 0xffff {
		return binary.LittleEndian.Uint64(page[16:]), true
	}
	return uint64(short), true
}
