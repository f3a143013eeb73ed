package nats

// crash ends a store as the end of its process would: without a farewell, and with what it has in memory lost.
func (s *Store) crash() {
	s.closeOnce.Do(func() { s.close(false) })
}
