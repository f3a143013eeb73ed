package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
)

// syncLatencies are those of appending 600 bytes to a file and syncing it, one after the other: what no durable answer
// can be faster than.
func syncLatencies(dir string, n int) ([]time.Duration, error) {
	file, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	record := make([]byte, 600)
	latencies := make([]time.Duration, n)
	for i := range latencies {
		start := time.Now()
		if _, err := file.Write(record); err != nil {
			return nil, fmt.Errorf("measuring the disk: %w", err)
		}
		if err := fdatasync(file); err != nil {
			return nil, fmt.Errorf("measuring the disk: %w", err)
		}
		latencies[i] = time.Since(start)
	}
	return latencies, nil
}

// databaseFiles are the endings of those that Badger makes. What else there is in a data directory, such as the reserve,
// has a size that does not change.
var databaseFiles = []string{".sst", ".vlog", ".mem"}

// usedBytes is the disk space that the database in dir takes.
func usedBytes(dir string) (int64, error) {
	var used int64
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !slices.Contains(databaseFiles, filepath.Ext(name)) {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // compacted away meanwhile
		}
		if err != nil {
			return err
		}
		used += diskUse(info)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measuring the data directory: %w", err)
	}
	return used, nil
}

// liveBytes is the size of all keys and values in the database of a store that is closed.
func liveBytes(dir string) (int64, error) {
	db, err := badgerdb.Open(badgerdb.DefaultOptions(dir).WithReadOnly(true).WithLogger(nil))
	if err != nil {
		return 0, fmt.Errorf("measuring live data: %w", err)
	}
	defer db.Close()
	var live int64
	err = db.View(func(txn *badgerdb.Txn) error {
		it := txn.NewIterator(badgerdb.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			live += it.Item().EstimatedSize()
		}
		return nil
	})
	return live, err
}
