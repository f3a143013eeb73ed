package nats

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/bentihooks/bentihooks/store/storetest"
)

// firstRecord is [storetest.Golden] as the first version wrote it. Logs are full of such.
const firstRecord = "010301d0b0feacfafcf9ea31d0b0c3b8c0cefbea31067469636b65740461636d65036164643730302d34626639326633353737623334646136613363653932396430" +
	"653065343733362d303066303637616130626139303262372d3031087b226964223a377d020202d0d8d4e681fdf9ea31ee07809bee020a7374617475732035303304" +
	"6275737904d090b9b1b980faea31008090dfc04a0774696d656f757400"

func TestRecordsOfTheFirstVersionAreReadAndWritten(t *testing.T) {
	t.Parallel()
	record, err := hex.DecodeString(firstRecord)
	ok(t, err)
	want := storetest.Golden()
	webhook, err := parseID(want.Webhook)
	ok(t, err)
	id, err := parseID(want.ID)
	ok(t, err)
	got, err := decodeDelivery(webhook, id, record)
	ok(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if again := encodeDelivery(&want); !bytes.Equal(again, record) {
		t.Errorf("written as %x, want %x", again, record)
	}
	sum, err := summarize(record)
	ok(t, err)
	if string(sum.item) != want.Item || sum.created != want.CreatedAt.UnixNano() || sum.due != want.Due.UnixNano() {
		t.Errorf("the summary is %+v", sum)
	}
}

// FuzzDecodeDelivery takes any bytes for a record.
func FuzzDecodeDelivery(f *testing.F) {
	record, err := hex.DecodeString(firstRecord)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Add([]byte{})
	golden := storetest.Golden()
	webhook, _ := parseID(golden.Webhook)
	id, _ := parseID(golden.ID)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := decodeDelivery(webhook, id, b)
		if err != nil {
			return
		}
		again, err := decodeDelivery(webhook, id, encodeDelivery(&d))
		if err != nil {
			t.Fatalf("decoded to %+v, which does not decode again: %v", d, err)
		}
		if len(d.Attempts) != len(again.Attempts) || !bytes.Equal(d.Payload, again.Payload) {
			t.Fatalf("decoded to %+v, then to %+v", d, again)
		}
	})
}
