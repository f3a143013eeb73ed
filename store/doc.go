// Package store holds the model of Bentihooks (webhook, delivery, attempt) and the contract that every
// storage engine keeps: the [Store] interface. Engines live in packages of their own and are held to
// the contract by the suite in storetest.
package store
