package main

import (
	"testing"
	"time"
)

func TestCPUTimeIsThatBehindTheName(t *testing.T) {
	t.Parallel()
	got, err := parseCPU("42 (a (strange) name) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 7 8 20 0 9 0 1234")
	if err != nil || got != 2*time.Second {
		t.Errorf("got %v, %v; want 2s", got, err)
	}
	if _, err := parseCPU("42 (short) S 1"); err == nil {
		t.Error("a line that is too short is no error")
	}
}

func TestAnonymousMemoryIsRead(t *testing.T) {
	t.Parallel()
	got, err := parseRSSAnon("Name:\tx\nVmRSS:\t   999 kB\nRssAnon:\t    2048 kB\nRssFile:\t  1 kB\n")
	if err != nil || got != 2<<20 {
		t.Errorf("got %d, %v; want 2 MiB", got, err)
	}
	if _, err := parseRSSAnon("Name:\tx\n"); err == nil {
		t.Error("no such line is no error")
	}
}

func TestFileSystemIsThatOfTheNearestMountPoint(t *testing.T) {
	t.Parallel()
	mounts := "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/data xfs rw 0 0\n"
	for dir, want := range map[string]string{"/home": "ext4", "/tmp/x": "tmpfs", "/tmp/data": "xfs", "/tmp/data/x": "xfs", "/tmpfile": "ext4"} {
		if got := filesystem(mounts, dir); got != want {
			t.Errorf("%s is on %s, want %s", dir, got, want)
		}
	}
}

func TestGaugeIsFoundByItsWholeName(t *testing.T) {
	t.Parallel()
	metrics := "# HELP x\nbenti_other{state=\"delivered\"} 1\nbenti{state=\"dead\"} 2\nbenti{state=\"delivered\"} 1e+06\n"
	if got, err := gauge(metrics, `benti{state="delivered"} `); err != nil || got != 1e6 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := gauge(metrics, `benti{state="pending"} `); err == nil {
		t.Error("a metric that is missing is no error")
	}
}
