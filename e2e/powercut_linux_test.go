package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// disk is an ext4 file system whose power can be cut.
//
// It is the innermost of three, each in a file of the one around it, through loop devices. A device's cache is
// played by the middle one's page cache: what the innermost file system has written but not flushed is in it and not
// yet on the middle one's device. While the outermost is frozen, nothing reaches that device, so that a copy of its file
// is what a disk without power holds at one moment: everything that was flushed, and of the rest only what happened to be
// written back. Those who write wait until the copy is made, and then go on as if nothing had been.
type disk struct {
	t     *testing.T
	dir   string // for the images
	outer string // the mount points
	mid   string
	inner string

	mounted []string // in the order of their mounting
}

const middleImage, innerImage = "middle.img", "inner.img"

func newDisk(t *testing.T) *disk {
	t.Helper()
	needRoot(t)
	for _, tool := range []string{"mkfs.ext4", "losetup", "fsfreeze", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("cutting the power takes %s: %v", tool, err)
		}
	}
	d := &disk{t: t, dir: mountPoint(t)}
	// One cleanup for all, also of what comes back after a cut: it runs when the proxy that is made later has gone.
	t.Cleanup(func() {
		for _, at := range slices.Backward(d.mounted) {
			unmount(t, at)
		}
		os.RemoveAll(d.dir)
	})
	d.outer, d.mid, d.inner = d.place("outer"), d.place("middle"), d.place("inner")
	d.make(filepath.Join(d.dir, "outer.img"), "280M", d.outer)
	d.make(filepath.Join(d.outer, middleImage), "240M", d.mid)
	d.make(filepath.Join(d.mid, innerImage), "200M", d.inner)
	return d
}

// make makes a file system in a file and mounts it until the test ends.
func (d *disk) make(image, size, at string) {
	d.t.Helper()
	for _, args := range [][]string{{"truncate", "-s", size, image}, {"mkfs.ext4", "-q", "-F", image}} {
		d.run(args...)
	}
	d.mount(image, at)
}

func (d *disk) mount(image, at string) {
	d.t.Helper()
	if out, err := exec.Command("mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
		d.t.Skipf("mounting a loop device: %v: %s", err, out)
	}
	d.mounted = append(d.mounted, at)
}

// place makes a directory.
func (d *disk) place(name string) string {
	d.t.Helper()
	dir, err := os.MkdirTemp(d.dir, name+"-")
	if err != nil {
		d.t.Fatal(err)
	}
	return dir
}

func (d *disk) run(args ...string) {
	d.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// cut calls seen at the moment of a power cut, while nobody who waits for the disk goes on, and returns where the disk
// is mounted as it comes back after the cut.
func (d *disk) cut(seen func()) string {
	d.t.Helper()
	copied := d.place("cut")
	d.run("fsfreeze", "--freeze", d.outer)
	seen()
	out, err := exec.Command("cp", "--sparse=always", filepath.Join(d.outer, middleImage), copied).CombinedOutput()
	d.run("fsfreeze", "--unfreeze", d.outer)
	if err != nil {
		d.t.Fatalf("copying the image: %v: %s", err, out)
	}
	mid, inner := d.place("middle"), d.place("inner")
	d.mount(filepath.Join(copied, middleImage), mid)
	d.mount(filepath.Join(mid, innerImage), inner)
	return inner
}

// What a client was told of survives a loss of power. BENTI_POWER_ROUNDS is how often it is cut, at random moments:
// by turns the deliveries are waiting for their receiver, are being made, or stand in the reserve, the disk being full.
func TestPowerCutLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	for round := range long(t, "BENTI_POWER_ROUNDS", 3) {
		t.Run(fmt.Sprint(round+1), func(t *testing.T) {
			d := newDisk(t)
			up, rc := newUpstream(t), newReceiver(t)
			p := newProxy(t, up, config{store: smallStore, delivery: patientRetry})
			p.data = filepath.Join(d.inner, "benti")
			p.start()
			p.register("ticket", rc.url("/"))
			waiting, full := round%3 == 0, round%3 == 2
			if waiting {
				rc.down()
			}
			if full {
				(&foreign{t: t, file: filepath.Join(d.inner, "foreign")}).fill(0)
				p.turns("low_space")
			}
			tr := startPaced(p, 4, 0, `{}`)
			eventually(t, "acknowledged tickets", func() bool { return tr.count() >= 100 })
			<-time.After(rand.N(300 * time.Millisecond))
			var acknowledged []string
			back := d.cut(func() { acknowledged = tr.known() })
			tr.end()
			p.kill()
			if waiting {
				rc.up()
			}
			if full {
				if err := os.Remove(filepath.Join(back, "foreign")); err != nil {
					t.Fatal(err)
				}
			}
			p.data = filepath.Join(back, "benti")
			p.start()
			p.emptied()
			came := newArrivals(rc)
			came.await(acknowledged)
			p.ticket()
			came.await([]string{fmt.Sprint(up.created())})
			t.Logf("%d tickets acknowledged before the cut, 0 of these lost, %d deliveries came twice", len(acknowledged), came.duplicates)
		})
	}
}
