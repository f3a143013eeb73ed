package badger

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
	"github.com/bentihooks/bentihooks/store/storetest"
)

func TestRecordsDecodeToWhatWasEncoded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := drawDelivery(t)
		webhook, _ := parseUUID(d.Webhook)
		id, _ := parseUUID(d.ID)
		got, err := decodeDelivery(webhook, id, encodeDelivery(&d))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, d) {
			t.Fatalf("got %+v, want %+v", got, d)
		}
	})
}

func drawDelivery(t *rapid.T) store.Delivery {
	text, size := rapid.String(), rapid.SampledFrom([]int{0, 1, 127, 128, 5000})
	moment := rapid.Custom(func(t *rapid.T) time.Time { return codec.Time(rapid.Int64().Draw(t, "nanos")) })
	data := func(label string) []byte { return append([]byte(nil), make([]byte, size.Draw(t, label))...) }
	d := storetest.Delivery(storetest.Webhook(text.Draw(t, "project")), storetest.Start)
	d.Item, d.Action, d.TraceContext = text.Draw(t, "item"), text.Draw(t, "action"), text.Draw(t, "trace")
	d.Ping, d.Spent = rapid.Bool().Draw(t, "ping"), rapid.IntRange(0, 100).Draw(t, "spent")
	d.State = rapid.SampledFrom([]store.State{store.Pending, store.Delivered, store.Dead}).Draw(t, "state")
	d.Payload, d.CreatedAt, d.Due = data("payload"), moment.Draw(t, "created"), moment.Draw(t, "due")
	for range rapid.IntRange(0, 4).Draw(t, "attempts") {
		d.Attempts = append(d.Attempts, store.Attempt{
			N: rapid.Int().Draw(t, "n"), At: moment.Draw(t, "at"), Status: rapid.Int().Draw(t, "status"),
			Duration: time.Duration(rapid.Int64().Draw(t, "duration")), Error: text.Draw(t, "error"),
			Response: data("response")[:0:0],
		})
	}
	for i := range d.Attempts {
		d.Attempts[i].Response = nil
	}
	return d
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	t.Parallel()
	d := storetest.Delivery(storetest.Webhook("acme"), storetest.Start)
	record := encodeDelivery(&d)
	for i := range len(record) * 8 {
		record[i/8] ^= 1 << (i % 8)
		if _, err := decodeDelivery(uuid{}, uuid{}, record); err == nil {
			t.Errorf("bit %d flipped, and nobody noticed", i)
		}
		record[i/8] ^= 1 << (i % 8)
	}
}

// FuzzDecodeDelivery gives the decoder foreign bytes with a right checksum, or it would never see more than that.
func FuzzDecodeDelivery(f *testing.F) {
	w := storetest.Webhook("acme")
	d := storetest.Delivery(w, storetest.Start)
	d.Attempts = []store.Attempt{storetest.Outcome(d, store.Dead, time.Time{}).Attempt}
	record := encodeDelivery(&d)
	f.Add(record[:len(record)-recordSum])
	f.Add([]byte{})
	f.Add([]byte{recordVersion, codec.Pending, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		decodeDelivery(uuid{}, uuid{}, b)
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
		d, err := decodeDelivery(uuid{}, uuid{}, b)
		if err != nil {
			return
		}
		again, err := decodeDelivery(uuid{}, uuid{}, encodeDelivery(&d))
		if err != nil {
			t.Fatalf("decoded to %+v, which does not decode again: %v", d, err)
		}
		for i := range d.Attempts {
			d.Attempts[i].Response = d.Attempts[i].Response[:min(len(d.Attempts[i].Response), store.MaxResponse)]
		}
		if !reflect.DeepEqual(d, again) {
			t.Fatalf("decoded to %+v, then to %+v", d, again)
		}
	})
}

func FuzzDecodeWebhook(f *testing.F) {
	w := storetest.Webhook("acme")
	record, err := encodeWebhook(&w)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Fuzz(func(_ *testing.T, b []byte) { decodeWebhook(b) })
}

func TestSlotsSortLikeTimes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		if got := newSlot(codec.Time(a), uuid{}).before(newSlot(codec.Time(b), uuid{})); got != (a < b) {
			// Times close to the ends are rounded to them.
			if codec.Nanos(codec.Time(a)) == a && codec.Nanos(codec.Time(b)) == b {
				t.Fatalf("%d before %d: %v", a, b, got)
			}
		}
	})
	for _, at := range []time.Time{{}, time.Unix(0, 0), storetest.Start, time.Unix(0, math.MinInt64).Add(-time.Hour), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if s := newSlot(at, uuid{}); !s.before(endSlot) {
			t.Errorf("slot of %v is not before the end", at)
		}
	}
}

func TestIDsComeBackAsTheyWent(t *testing.T) {
	t.Parallel()
	id := storetest.ID(storetest.Start)
	u, err := parseUUID(id)
	if err != nil || u.String() != id {
		t.Errorf("%s became %s, %v", id, u, err)
	}
	if at, ok := u.time(); !ok || !at.Equal(storetest.Start) {
		t.Errorf("time of %s is %v, %v", id, at, ok)
	}
	for _, bad := range []string{
		"", "x", id + "0", id[:35], "01890A5D-AC96-774B-BCCE-B302099A8057", "{" + id[:34] + "}",
		"01890a5d+ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a805g", "01890a5dac96-774b-bcce-b302099a80570",
		"0189-a5d-ac96-774b-bcce-b302099a8057",
	} {
		if _, err := parseUUID(bad); err == nil {
			t.Errorf("%q passes for a UUID", bad)
		}
	}
}

// FuzzUUID takes any text for an id, as in a cursor or a path.
func FuzzUUID(f *testing.F) {
	f.Add("01890a5d-ac96-774b-bcce-b302099a8057")
	f.Add("{01890a5d-ac96-774b-bcce-b302099a805}")
	f.Add("01890A5D-ac96-774b-bcce-b302099a805\x00")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseUUID(text)
		if err == nil && u.String() != text {
			t.Fatalf("%q becomes %q", text, u)
		}
		u.time()
	})
}

func FuzzCounters(f *testing.F) {
	f.Add((&counters{1, 2, 3, 4, 5, 6}).encode())
	f.Add([]byte{countersVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c counters
		if c.decode(b) == nil && string(c.encode()) != string(b) {
			t.Fatalf("%x becomes %x", b, c.encode())
		}
	})
}

// firstRecord is [storetest.Golden] as the first version wrote it. Data directories are full of such.
const firstRecord = "0103010461636d65067469636b6574036164643730302d34626639326633353737623334646136613363653932396430653065343733362d30306630363761613062" +
	"6139303262372d3031087b226964223a377dd0b0feacfafcf9ea31d0b0c3b8c0cefbea31020202d0d8d4e681fdf9ea31ee07809bee020a7374617475732035303304" +
	"6275737904d090b9b1b980faea31008090dfc04a0774696d656f757400a56c3ba8"

func TestRecordsOfTheFirstVersionAreReadAndWritten(t *testing.T) {
	t.Parallel()
	record, err := hex.DecodeString(firstRecord)
	if err != nil {
		t.Fatal(err)
	}
	want := storetest.Golden()
	webhook, _ := parseUUID(want.Webhook)
	id, _ := parseUUID(want.ID)
	got, err := decodeDelivery(webhook, id, record)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if again := encodeDelivery(&want); !bytes.Equal(again, record) {
		t.Errorf("written as %x, want %x", again, record)
	}
}
