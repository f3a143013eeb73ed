package nats

import "context"

func (s *Store) loadSnapshot(context.Context) error { return nil }

func (s *Store) keeper() { s.wg.Done() }
