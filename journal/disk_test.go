package journal

import (
	"os"
	"syscall"

	"pgregory.net/rapid"
)

// disk stands between a reserve and its file and knows what a power cut would leave. The file itself plays the
// page cache. After a failed flush the kernel takes the pages for clean, whether they reached the disk or not: they
// do not get there until they are written to again.
type disk struct {
	file   *os.File
	stable []byte
	dirty  map[int64]bool
	faulty bool // calls may fail
}

// insert puts a disk under an open reserve, whose content so far is stable.
func insert(t *rapid.T, r *Reserve) *disk {
	stable, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{file: r.file, stable: stable, dirty: make(map[int64]bool)}
	r.writeAt = func(p []byte, at int64) (int, error) { return d.writeAt(t, p, at) }
	r.sync = func() error { return d.sync(t) }
	return d
}

func (d *disk) writeAt(t *rapid.T, p []byte, at int64) (int, error) {
	if d.faulty && rapid.Bool().Draw(t, "write fails") {
		p = p[:rapid.IntRange(0, len(p)).Draw(t, "written")]
		d.write(p, at)
		return len(p), syscall.EIO
	}
	d.write(p, at)
	return len(p), nil
}

func (d *disk) write(p []byte, at int64) {
	if at+int64(len(p)) > int64(len(d.stable)) {
		panic("the reserve grew")
	}
	if _, err := d.file.WriteAt(p, at); err != nil {
		panic(err)
	}
	for page := at / blockSize; page*blockSize < at+int64(len(p)); page++ {
		d.dirty[page] = true
	}
}

func (d *disk) sync(t *rapid.T) error {
	cache := d.cache()
	fails := d.faulty && rapid.Bool().Draw(t, "flush fails")
	for page := range int64(len(cache)+blockSize-1) / blockSize {
		if d.dirty[page] && (!fails || rapid.Bool().Draw(t, "page reaches the disk")) {
			copy(d.stable[page*blockSize:], cache[page*blockSize:min((page+1)*blockSize, int64(len(cache)))])
		}
	}
	clear(d.dirty)
	if fails {
		return syscall.EIO
	}
	return nil
}

func (d *disk) cache() []byte {
	cache, err := os.ReadFile(d.file.Name())
	if err != nil {
		panic(err)
	}
	return cache
}

// cut returns what is on the disk after a power cut: some sectors of what was not flushed got there, some did not.
func (d *disk) cut(t *rapid.T) []byte {
	const sector = 512
	cache := d.cache()
	after := append([]byte(nil), d.stable...)
	for page := range int64(len(cache)+blockSize-1) / blockSize {
		if !d.dirty[page] {
			continue
		}
		for at := page * blockSize; at < min((page+1)*blockSize, int64(len(cache))); at += sector {
			if rapid.Bool().Draw(t, "sector reaches the disk") {
				copy(after[at:], cache[at:min(at+sector, int64(len(cache)))])
			}
		}
	}
	return after
}
