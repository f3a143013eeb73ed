// Package codec is what the records of both engines are made of: numbers of states, fields, attempts. Each engine arranges them its own
// way. All of it is on disk: what is written must be read for ever.
package codec
