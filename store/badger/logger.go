package badger

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// logger passes on Badger's lines, which come with line ends and sometimes empty.
type logger struct {
	logf func(level, msg string)
	// syncFailed is set when Badger said that it could not sync the value log: it does not return that error.
	syncFailed atomic.Bool
}

func (l *logger) log(level, format string, args []any) {
	if l.logf == nil {
		return
	}
	if msg := strings.TrimSpace(fmt.Sprintf(format, args...)); msg != "" {
		l.logf(level, msg)
	}
}

// Errorf is part of badger.Logger, like the three below.
func (l *logger) Errorf(format string, args ...any) {
	if strings.HasPrefix(format, "Error while curlf sync") {
		l.syncFailed.Store(true)
	}
	l.log("error", format, args)
}

// Warningf logs at level warn.
func (l *logger) Warningf(format string, args ...any) { l.log("warn", format, args) }

// Infof logs at level info.
func (l *logger) Infof(format string, args ...any) { l.log("info", format, args) }

// Debugf does nothing: Badger has several such lines for every write.
func (l *logger) Debugf(string, ...any) {}
