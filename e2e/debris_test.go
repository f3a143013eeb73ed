package e2e

import (
	"bytes"
	endian "encoding/binary"
	"hash/crc32"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// owing is a proxy that was killed, or stopped in order, while it owed the events of the first n tickets.
func owing(t *testing.T, n int, end func(*proxy)) (*proxy, *receiver) {
	t.Helper()
	return owingIn(t, n, "reserve 1MiB", end)
}

// owingIn is owing with other settings of the store.
func owingIn(t *testing.T, n int, store string, end func(*proxy)) (*proxy, *receiver) {
	t.Helper()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{global: "metrics", delivery: patientRetry, store: store})
	p.register("ticket", rc.url("/"))
	rc.down()
	for range n {
		p.ticket()
	}
	end(p)
	rc.up()
	return p, rc
}

// What a crash, or a careless hand, may leave in the store's directory costs nothing that was acknowledged.
func TestDebrisOfACrashCostsNothing(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]string{"plain": "", "encrypted": "\nencryption_key 000102030405060708090a0b0c0d0e0f"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testDebris(t, "reserve 1MiB"+key)
		})
	}
}

func testDebris(t *testing.T, store string) {
	t.Helper()
	const owed = 50
	for _, c := range []struct {
		name string
		end  func(*proxy)
		make func(*testing.T, string)
		log  []string // words of a line that must be logged
	}{
		{name: "empty memtable", make: func(t *testing.T, dir string) { write(t, dir, "00099.mem", nil) }},
		{name: "empty memtable after a stop", end: (*proxy).stop, make: func(t *testing.T, dir string) { write(t, dir, "00099.mem", nil) }},
		{name: "LOCK of another process", make: func(t *testing.T, dir string) { write(t, dir, "LOCK", []byte("1\n")) }},
		{name: "value log cut to its header", make: func(t *testing.T, dir string) { cutShort(t, dir, "*.vlog", 20) }},
		{name: "value log cut within its header", make: func(t *testing.T, dir string) { cutShort(t, dir, "*.vlog", 10) }},
		{name: "empty value log", make: func(t *testing.T, dir string) { cutShort(t, dir, "*.vlog", 0) }},
		{name: "second value log, empty", make: func(t *testing.T, dir string) { write(t, dir, "000099.vlog", nil) }},
		{name: "reserve cut in half", make: func(t *testing.T, dir string) { cutShort(t, dir, "reserve", 512<<10) }},
		{name: "reserve of zeros", make: func(t *testing.T, dir string) { write(t, dir, "reserve", make([]byte, 100<<10)) }},
		{
			name: "reserve of garbage", log: []string{`"level":"error"`, "damaged records", "reserve.corrupt"},
			make: func(t *testing.T, dir string) { write(t, dir, "reserve", bytes.Repeat([]byte("garbage "), 20_000)) },
		},
		{name: "no reserve", make: func(t *testing.T, dir string) { remove(t, dir, "reserve") }},
		{name: "notes of garbage", make: func(t *testing.T, dir string) { write(t, dir, "in-flight", bytes.Repeat([]byte("garbage "), 20_000)) }},
		{name: "notes cut in half", make: func(t *testing.T, dir string) { cutShort(t, dir, "in-flight", 5000) }},
		{name: "doubts of garbage", make: func(t *testing.T, dir string) {
			write(t, dir, "in-flight.in-doubt", bytes.Repeat([]byte("garbage "), 20_000))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.end == nil {
				c.end = (*proxy).kill
			}
			p, rc := owingIn(t, owed, store, c.end)
			c.make(t, p.data)
			offset := p.output.len()
			p.start()
			p.ticket()
			if now := p.status(); now.State.Name != "open" {
				t.Errorf("the store is %s: %s", now.State.Name, now.State.Reason)
			}
			if c.log != nil {
				p.logged(offset, c.log...)
			}
			newArrivals(rc).await(numbers(owed + 1))
			if list := p.inDoubt(); len(list) != 0 {
				t.Errorf("in doubt are %+v", list)
			}
		})
	}
}

// Records of a reserve that was being written at the crash: those that are whole are delivered.
func TestHalfWrittenReserveGivesWhatIsWhole(t *testing.T) {
	t.Parallel()
	const before, kept = 3, 50
	p, rc := owing(t, before, (*proxy).stop)
	manifest := filepath.Join(p.data, "MANIFEST")
	good := read(t, manifest)
	write(t, p.data, "MANIFEST", []byte("no manifest"))
	p.start()
	for range kept {
		p.ticket()
	}
	if now := p.status(); now.InReserve != kept {
		t.Fatalf("%d events are in the reserve", now.InReserve)
	}
	p.kill()
	write(t, p.data, "MANIFEST", good)
	// The last record is torn: its second half has not reached the disk. Another stands damaged in the middle.
	reserve := read(t, filepath.Join(p.data, "reserve"))
	end := len(bytes.TrimRight(reserve, "\x00"))
	clear(reserve[end-100 : end])
	at := bytes.Index(reserve[20_000:end], []byte(`"payload"`)) + 20_000
	copy(reserve[at:], "XXXX")
	write(t, p.data, "reserve", reserve)
	offset := p.output.len()
	p.start()
	p.logged(offset, `"level":"error"`, "reserve.corrupt")
	p.emptied()
	came := newArrivals(rc)
	for len(came.events) < before+kept-2 {
		came.add(rc.next())
	}
	if _, err := os.Stat(filepath.Join(p.data, "reserve.corrupt")); err != nil {
		t.Error(err)
	}
}

// A flipped bit inside of a table costs the record that it is in.
func TestDamagedTableNeverStopsTheSite(t *testing.T) {
	t.Parallel()
	const owed = 200
	p, rc := owing(t, owed, (*proxy).stop)
	file := match(t, p.data, "*.sst")
	damaged := read(t, file)
	at := bytes.Index(damaged, []byte(`"item":"ticket"`))
	if at < 0 {
		t.Fatal("no payload in the table")
	}
	damaged[at+3] ^= 1
	write(t, p.data, filepath.Base(file), damaged)
	p.start()
	p.ticket()
	came := newArrivals(rc)
	for len(came.events) < owed {
		came.add(rc.next())
	}
	p.logged(0, `"level":"error"`, "skipping record")
}

// A database that cannot be opened is left as it is: the site serves, events are kept, and go on once it can be opened.
func TestDatabaseThatCannotBeOpenedIsSetAsideUntilItCan(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"*.sst", "MANIFEST"} {
		t.Run(pattern, func(t *testing.T) {
			t.Parallel()
			const owed, kept = 20, 5
			p, rc := owing(t, owed, (*proxy).stop)
			file := match(t, p.data, pattern)
			good := read(t, file)
			write(t, p.data, filepath.Base(file), bytes.Repeat([]byte("garbage "), len(good)/8))
			offset := p.output.len()
			p.start()
			for range kept {
				p.ticket()
			}
			now := p.status()
			if now.State.Name != "failed" || now.InReserve != kept {
				t.Errorf("the store is %s, %d events are in the reserve", now.State.Name, now.InReserve)
			}
			for _, words := range []string{file, "damaged", "restore the directory from a backup", "move it aside"} {
				if !strings.Contains(now.State.Reason, words) {
					t.Errorf("the reason %q lacks %q", now.State.Reason, words)
				}
			}
			p.logged(offset, `"level":"error"`, "damaged", "backup")
			p.must(http.StatusServiceUnavailable, "GET", "/v1/webhooks", "")
			write(t, p.data, filepath.Base(file), good)
			newArrivals(rc).await(numbers(owed + kept))
		})
	}
}

// A directory of a newer version is not touched.
func TestNewerFormatIsRefused(t *testing.T) {
	t.Parallel()
	p, rc := owing(t, 3, (*proxy).stop)
	setFormat(t, p.data, 255)
	offset := p.output.len()
	p.start()
	p.logged(offset, `"level":"error"`, "newer version of Bentihooks", "upgrade")
	for range 3 {
		p.ticket()
	}
	p.call(http.MethodGet, "/v1/webhooks", "").checkError(t, http.StatusServiceUnavailable, "")
	if now := p.status(); now.State.Name != "failed" || now.InReserve != 3 {
		t.Errorf("the store is %s, %d events are in the reserve", now.State.Name, now.InReserve)
	}
	p.stop()
	setFormat(t, p.data, 2)
	p.start()
	newArrivals(rc).await(numbers(6))
}

// So is a reserve of one.
func TestNewerReserveIsLeftAlone(t *testing.T) {
	t.Parallel()
	p, rc := owing(t, 3, (*proxy).stop)
	reserve := read(t, filepath.Join(p.data, "reserve"))
	for _, block := range [][]byte{reserve[:4096], reserve[4096:8192]} {
		endian.LittleEndian.PutUint32(block[8:], 2)
		endian.LittleEndian.PutUint32(block[24:], crc32.Checksum(block[:24], crc32.MakeTable(crc32.Castagnoli)))
	}
	write(t, p.data, "reserve", reserve)
	offset := p.output.len()
	p.start()
	p.logged(offset, `"level":"error"`, "format version 2")
	p.ticket()
	newArrivals(rc).await(numbers(4))
	if now := read(t, filepath.Join(p.data, "reserve")); !bytes.Equal(now, reserve) {
		t.Error("the reserve of a newer version was changed")
	}
}

// setFormat changes the format of a database, whose key is 'f', past the program.
func setFormat(t *testing.T, dir string, version byte) {
	t.Helper()
	db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithMemTableSize(16 << 20))
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(txn *badger.Txn) error { return txn.Set([]byte("f"), []byte{version}) })
	if err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func write(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// match returns the last file of a pattern.
func match(t *testing.T, dir, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s in %s: %v", pattern, dir, err)
	}
	return files[len(files)-1]
}

func cutShort(t *testing.T, dir, pattern string, size int64) {
	t.Helper()
	if err := os.Truncate(match(t, dir, pattern), size); err != nil {
		t.Fatal(err)
	}
}
