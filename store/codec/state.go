package codec

import (
	"math"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// Numbers of states, as they are stored: never renumber.
const (
	Pending   byte = 1
	Delivered byte = 2
	Dead      byte = 3
)

// StateNumber returns 0 for states that are never stored.
func StateNumber(s store.State) byte {
	switch s {
	case store.Pending:
		return Pending
	case store.Delivered:
		return Delivered
	case store.Dead:
		return Dead
	}
	return 0
}

// State returns "" for a number that is none of a state.
func State(n byte) store.State {
	switch n {
	case Pending:
		return store.Pending
	case Delivered:
		return store.Delivered
	case Dead:
		return store.Dead
	}
	return ""
}

// Nanos is t in nanoseconds since 1970. The zero time and all before 1678 become the least value, and all after 2261 the
// greatest, so that order is kept.
func Nanos(t time.Time) int64 {
	switch y := t.UTC().Year(); {
	case y < 1678:
		return math.MinInt64
	case y > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// Time undoes Nanos, in UTC.
func Time(n int64) time.Time {
	if n == math.MinInt64 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
