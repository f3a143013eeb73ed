// Package matcher tells from one HTTP exchange with the ticketing API which events it was, if any, and
// what their payloads are: pure functions over bytes, without I/O, clock or goroutines.
//
// A [Table] holds the endpoints that produce events and finds the row of a request. An [Exchange] is
// what was seen of a matched request and its response, and [Exchange.Derive] makes the [Event] of it, for
// api webhooks. A [RuleTable] does the same for the events of instance webhooks, of which one call may make
// several: [RuleTable.Derive] makes each [InstanceEvent].
// Everything in an exchange is taken for hostile: sizes, nesting and numbers of parts are bounded before
// a parser sees them, and what was seen only in part is not used.
package matcher
