package main

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

func fdatasync(file *os.File) error { return syscall.Fdatasync(int(file.Fd())) }

// ownCPU is the time that this process has run.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// diskUse is what a file takes on the disk in bytes, which for a sparse one is less than its size.
func diskUse(info fs.FileInfo) int64 {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Size()
	}
	return stat.Blocks * 512
}
