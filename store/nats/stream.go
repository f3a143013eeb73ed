package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// dedupWindow is for how long the server knows which proposals it has, longer than a proposal is sent again.
const dedupWindow = time.Minute

func (s *Store) wantedStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        s.names.stream,
		Description: "Bentihooks: webhooks and deliveries. Its messages must not be deleted by hand.",
		Subjects:    []string{s.names.log, s.names.part, s.names.snapshot},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		Storage:     jetstream.FileStorage,
		Replicas:    s.options.Replicas,
		Duplicates:  dedupWindow,
		AllowDirect: true,
		DenyDelete:  false,
	}
}

// openStream makes the stream if there is none. One that is there is used as it is, if nothing of it would lose messages; what
// else is not as wanted is told, and left to the operator.
func (s *Store) openStream(ctx context.Context) (jetstream.Stream, error) {
	stream, err := s.js.Stream(ctx, s.names.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = s.js.CreateStream(ctx, s.wantedStream())
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another instance was quicker
			stream, err = s.js.Stream(ctx, s.names.stream)
		}
	}
	if err != nil {
		return nil, err
	}
	wrong, odd := drift(stream.CachedInfo().Config, s.wantedStream())
	if len(wrong) > 0 {
		return nil, fmt.Errorf("it is configured so that it would lose messages or not take them: %s; change that with nats stream edit, or use another prefix",
			strings.Join(wrong, ", "))
	}
	if len(odd) > 0 {
		s.options.Logf("warn", fmt.Sprintf("stream %s is not configured as this server would: %s; it is used as it is", s.names.stream, strings.Join(odd, ", ")))
	}
	return stream, nil
}

// drift tells what of a stream would lose messages, and what else is not as it is wanted.
func drift(is, want jetstream.StreamConfig) (wrong, odd []string) {
	bad := func(holds bool, format string, args ...any) {
		if holds {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	bad(is.Retention != want.Retention, "retention is %s, not limits", strings.ToLower(is.Retention.String()))
	bad(is.Storage != want.Storage, "storage is %s, not file", strings.ToLower(is.Storage.String()))
	bad(is.MaxAge > 0, "max_age is %s, not unlimited", is.MaxAge)
	bad(is.MaxMsgs > 0 && is.Discard != jetstream.DiscardNew, "max_msgs is %d with discard old", is.MaxMsgs)
	bad(is.MaxBytes > 0 && is.Discard != jetstream.DiscardNew, "max_bytes is %d with discard old", is.MaxBytes)
	bad(is.MaxMsgsPerSubject > 0, "max_msgs_per_subject is %d, not unlimited", is.MaxMsgsPerSubject)
	bad(is.NoAck, "no_ack is set")
	bad(is.Sealed, "it is sealed")
	bad(is.Mirror != nil || len(is.Sources) > 0, "it copies other streams")
	for _, subject := range want.Subjects {
		bad(!covers(is.Subjects, subject), "subject %s is missing", subject)
	}
	note := func(holds bool, format string, args ...any) {
		if holds {
			odd = append(odd, fmt.Sprintf(format, args...))
		}
	}
	note(is.Replicas != want.Replicas, "replicas is %d, not %d", is.Replicas, want.Replicas)
	note(is.Duplicates < 2*flightTime, "duplicate_window is %s, less than %s", is.Duplicates, 2*flightTime)
	note(is.MaxBytes > 0, "max_bytes is %d, not unlimited: when it is reached, events go to the reserve", is.MaxBytes)
	note(is.MaxMsgs > 0, "max_msgs is %d, not unlimited: when it is reached, events go to the reserve", is.MaxMsgs)
	note(!is.AllowDirect, "allow_direct is off, so that all reading is done by one server")
	return wrong, odd
}

// covers reports whether one of a stream's subjects takes in a subject.
func covers(subjects []string, subject string) bool {
	for _, pattern := range subjects {
		prefix, all := strings.CutSuffix(pattern, ".>")
		if pattern == subject || all && strings.HasPrefix(subject, prefix+".") || pattern == prefixOf(subject)+".*" {
			return true
		}
	}
	return false
}

func prefixOf(subject string) string { return subject[:strings.LastIndexByte(subject, '.')] }

// purgeAge is how old a snapshot has to be before what came before it is cut off the log.
const purgeAge = 10 * time.Minute
