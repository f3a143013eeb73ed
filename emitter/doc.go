// Package emitter takes due deliveries from a [store.Store] and posts them to their receivers until they
// arrive or the retry schedule is used up.
//
// An [Emitter] decides when and for whom: each webhook has a lane of its own, lanes take turns, and a lane
// whose receiver fails is cut down to a single probe, so that a slow or dead receiver only ever delays
// itself. A [Client] makes the requests: attempts of deliveries and the handshake that verifies a new
// webhook. A [Guard] decides which addresses may be dialled.
//
// Delivery is at least once. A receiver may see a delivery again (a lost answer, a crash before the outcome
// was stored) but always under the same X-Hook-Delivery.
package emitter
