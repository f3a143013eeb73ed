// Package emitter takes due deliveries from a [store.Store] and posts them to their receivers until they
// arrive or the retry schedule is used up.
//
// An [Emitter] decides when and for whom: each webhook has a lane of its own, lanes take turns, and a lane
// whose receiver fails is cut down to a single probe, so that a slow or dead receiver only ever delays
// itself. A [Client] makes the requests: attempts of deliveries and the handshake that verifies a new
// webhook. A [Guard] decides which addresses may be dialled.
//
// Delivery is at least once. A receiver may see a delivery again (a lost answer, a crash before the outcome
// was stored) but, of an api webhook, always under the same X-Hook-Delivery.
//
// Deliveries of an instance webhook that are due together share a POST, {"events":[...]}, of at most 100 events and
// 1 MiB, which takes one slot and is one attempt of each. It has an id of its own, new with every POST; what the
// receiver can tell a repeated event by is the id in its payload. On a failure each delivery keeps its own count of
// attempts and wait. The receiver then gets one event, and twice as many with each success. Pings go alone, and so
// does a delivery that has its last attempt before it.
package emitter
