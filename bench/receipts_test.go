package main

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func payload(id int64, meant time.Time) []byte {
	return fmt.Appendf(nil, `{"id":%d,"item":"ticket","action":"add","timestamp":%d,"actor":%d,"parent":null}`, id, meant.Unix(), meant.UnixNano())
}

func deliveryID(n int) []byte { return fmt.Appendf(nil, "0198c0de-0000-7000-8000-%012d", n) }

func TestReceiptsAreCountedByGroupAndOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := newReceipts()
		meant := time.Now()
		time.Sleep(10 * time.Millisecond)
		rs.note("/ok/1", deliveryID(1), payload(7, meant))()
		rs.note("/ok/2", deliveryID(1), payload(7, meant))()
		time.Sleep(10 * time.Millisecond)
		rs.note("/ok/2", deliveryID(2), payload(8, meant))()
		rs.note("/ok/2", deliveryID(3), payload(backlogID+1, meant))()
		rs.note("/ok/2", nil, payload(9, meant))()
		rs.note("/hang/2", deliveryID(4), payload(10, meant))
		groups := rs.report(command{Full: true, Reset: true}).Groups
		ok := groups["ok"]
		if ok.Unique != 2 || ok.Duplicates != 1 || ok.Malformed != 1 || groups["ok+backlog"].Unique != 1 || groups["hang"].InFlight != 1 {
			t.Errorf("got %+v", groups)
		}
		if ok.P50 != 10*time.Millisecond || ok.Max != 20*time.Millisecond {
			t.Errorf("latencies are %v and %v", ok.P50, ok.Max)
		}
		if left := rs.report(command{}).Groups; len(left) != 1 || left["hang"].InFlight != 1 {
			t.Errorf("after a reset: %+v", left)
		}
	})
}

func TestEventsOfAListAreCountedEachByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := newReceipts()
		event := func(n int, content string) string {
			return fmt.Sprintf(`{"id":"%022d==","action":"reply-ticket","body":{"message":{"content":"%s","from":{"id":null}}}}`, n, content)
		}
		meant := fmt.Sprint(time.Now().UnixNano())
		time.Sleep(10 * time.Millisecond)
		rs.note("/far/1", deliveryID(1), []byte(`{"events":[`+event(1, meant)+`]}`))()
		rs.note("/far/1", deliveryID(2), []byte(`{"events":[`+event(1, meant)+`,`+event(2, meant)+`,`+event(3, "text")+`]}`))()
		got := rs.report(command{Full: true}).Groups["far"]
		if got.Posts != 2 || got.Unique != 2 || got.Duplicates != 1 || got.Malformed != 1 || got.P50 != 10*time.Millisecond {
			t.Errorf("got %+v", got)
		}
	})
}

func TestReceiptsShowTheCourseOfTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rs := newReceipts()
		done := rs.note("/ok/1", deliveryID(1), payload(1, time.Now()))
		time.Sleep(2 * seriesStep)
		rs.note("/ok/1", deliveryID(2), payload(2, time.Now()))()
		done()
		time.Sleep(seriesStep)
		rs.note("/ok/1", deliveryID(3), payload(3, time.Now()))()
		got := fmt.Sprint(rs.report(command{Full: true}).Groups["ok"].Course)
		if want := "[{1 1} {0 1} {1 2} {1 1}]"; got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
