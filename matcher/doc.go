// Package matcher tells from one HTTP exchange with the ticketing API which event it was, if any, and
// what its payload is: pure functions over bytes, without I/O, clock or goroutines.
//
// A [Table] holds the endpoints that produce events and finds the row of a request. An [Exchange] is
// what was seen of a matched request and its response, and [Exchange.Derive] makes the [Event] of it.
// Everything in an exchange is taken for hostile: sizes, nesting and numbers of parts are bounded before
// a parser sees them, and what was seen only in part is not used.
package matcher
