package codec

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// Append appends text or bytes behind their length, a uvarint.
func Append[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// AppendAttempts appends attempts behind their number. Answers are cut to store.MaxResponse.
func AppendAttempts(b []byte, attempts []store.Attempt) []byte {
	b = binary.AppendUvarint(b, uint64(len(attempts)))
	for i := range attempts {
		a := &attempts[i]
		b = binary.AppendVarint(b, int64(a.N))
		b = binary.AppendVarint(b, Nanos(a.At))
		b = binary.AppendVarint(b, int64(a.Status))
		b = binary.AppendVarint(b, int64(a.Duration))
		b = Append(b, a.Error)
		b = Append(b, a.Response[:min(len(a.Response), store.MaxResponse)])
	}
	return b
}

// Reader takes fields off the front of B. Bad is set for good once one did not fit; what is taken then is zero.
type Reader struct {
	B   []byte
	Bad bool
}

// Fail makes all that follows bad.
func (r *Reader) Fail() { r.Bad, r.B = true, nil }

// Take takes n bytes, which share memory with B.
func (r *Reader) Take(n uint64) []byte {
	if n > uint64(len(r.B)) {
		r.Fail()
		return nil
	}
	field := r.B[:n:n]
	r.B = r.B[n:]
	return field
}

// Byte takes one byte.
func (r *Reader) Byte() byte {
	b := r.Take(1)
	if r.Bad {
		return 0
	}
	return b[0]
}

// Uvarint takes an unsigned number.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.B)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.B = r.B[n:]
	return v
}

// Varint takes a signed number.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.B)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.B = r.B[n:]
	return v
}

// Int takes a signed number that fits into an int.
func (r *Reader) Int() int {
	v := r.Varint()
	if v < math.MinInt || v > math.MaxInt {
		r.Fail()
		return 0
	}
	return int(v)
}

// Bytes takes what Append appended. It shares memory with B.
func (r *Reader) Bytes() []byte { return r.Take(r.Uvarint()) }

// Text is Bytes as text.
func (r *Reader) Text() string { return string(r.Bytes()) }

// Clone is Bytes that share no memory, nil if there are none, so that a record decodes to what was encoded wherever that was nil.
func (r *Reader) Clone() []byte {
	b := r.Bytes()
	if len(b) == 0 {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

// Attempts takes what AppendAttempts appended.
func (r *Reader) Attempts() []store.Attempt {
	// An attempt takes at least six bytes: a count beyond that is a lie, and must not be allocated.
	n := r.Uvarint()
	if n > uint64(len(r.B))/6 {
		r.Fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	attempts := make([]store.Attempt, n)
	for i := range attempts {
		attempts[i] = store.Attempt{
			N: r.Int(), At: Time(r.Varint()), Status: r.Int(), Duration: time.Duration(r.Varint()), Error: r.Text(), Response: r.Clone(),
		}
	}
	return attempts
}
