// Package nats is the engine of [store.Store] for several instances that share webhooks and deliveries: a replicated
// state machine over one JetStream stream.
//
// The stream is a log of changes, and its order is the order of all that happens. Every instance follows the log with one
// consumer and applies the same changes in the same order, so each holds the same state in memory: webhooks, and of each
// delivery where its record is in the log and when it is due. A call that changes something appends to the log and
// waits until its change comes back; what became of it is decided then, by the state that it meets. So conditions (a
// limit, a duplicate, a delivery that changed meanwhile) need no locks and no round trips beyond the one that makes it durable.
//
// Which instance delivers for which webhook follows from who is a member, which the log says too (members.go). What is
// claimed is known to the claiming instance alone, as in the embedded engine. An outcome names the record that was
// claimed: of an instance that was thought dead and is not, it changes nothing that another has changed since.
package nats
