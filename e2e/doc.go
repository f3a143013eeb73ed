// Package e2e holds the end-to-end tests. They build the real binary and run it as a child process between a
// scriptable stub of the legacy API and real TLS receivers, with nothing but HTTP, signals and files to tell
// what happened.
//
// Environment: BENTI_E2E_BINARY names a binary to test instead of building one; E2E_RACE=1 builds with the race
// detector. A test that fails shows the log of its process.
package e2e
