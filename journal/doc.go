// Package journal holds the two plain files that keep what the database cannot: the [Reserve], a
// preallocated emergency journal for events while the disk is full or the database fails, and [InFlight], a
// file of fixed slots that notes each matched request while it is being forwarded.
//
// Both have all their room from the start and are only ever written in place, with plain positioned
// writes and never through a memory mapping: a disk that fills up later can neither fail such a write nor
// kill the process. That holds on file systems that overwrite in place (ext4, xfs, tmpfs); one that copies on
// write (btrfs, zfs) may want new room for every write and can then answer with an error like any other.
//
// Both files are locked while they are open, against a second process that would write to them; where the
// system has no flock (Windows, Solaris) they are not. Everything here is safe for concurrent use.
package journal
