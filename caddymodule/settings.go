package caddymodule

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// settings reads a block of a Caddyfile in which each line is a setting, none is given twice, and a wrong
// value is refused with what is allowed.
type settings struct {
	d *caddyfile.Dispenser
	// repeatable are the settings that may be given several times.
	repeatable []string
	// lines are where each setting stands, the last of several.
	lines map[string]caddyfile.Token
	// check, if not nil, is called after each setting, to refuse it where the values taken together are wrong.
	check func() error
}

// parse reads the block at the dispenser's cursor, if there is one, and calls the parser of each setting
// with the cursor on its name.
func (s *settings) parse(parsers map[string]func() error) error {
	s.lines = make(map[string]caddyfile.Token)
	for nesting := s.d.Nesting(); s.d.NextBlock(nesting); {
		name := s.d.Val()
		parser, ok := parsers[name]
		if !ok {
			return s.d.Errf("unrecognized setting %q; allowed are %s", name, strings.Join(sortedNames(parsers), ", "))
		}
		if _, twice := s.lines[name]; twice && !slices.Contains(s.repeatable, name) {
			return s.d.Errf("%s is given twice", name)
		}
		s.lines[name] = s.d.Token()
		if err := parser(); err != nil {
			return err
		}
		if s.check == nil {
			continue
		}
		if err := s.check(); err != nil {
			return s.d.Errf("%v", err)
		}
	}
	return nil
}

// errorAt is an error about a setting that was read before.
func (s *settings) errorAt(name string, err error) error {
	line := s.lines[name]
	return fmt.Errorf("%s %w, at %s:%d", name, err, line.File, line.Line)
}

func sortedNames(parsers map[string]func() error) []string {
	var names []string
	for name := range parsers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// arg reads the one argument of a setting.
func (s *settings) arg() (string, error) {
	name := s.d.Val()
	if !s.d.NextArg() || s.d.Val() == "" {
		return "", s.d.Errf("%s needs a value", name)
	}
	value := s.d.Val()
	if s.d.NextArg() {
		return "", s.d.Errf("%s takes one value; unexpected %q", name, s.d.Val())
	}
	return value, nil
}

func (s *settings) text(to *string) error {
	value, err := s.arg()
	*to = value
	return err
}

func (s *settings) choice(to *string, allowed []string) error {
	name := s.d.Val()
	if s.d.CountRemainingArgs() == 0 {
		return s.d.Errf("%s needs a value, one of %s", name, strings.Join(allowed, ", "))
	}
	value, err := s.arg()
	if err != nil {
		return err
	}
	if err := oneOf(value, allowed); err != nil {
		return s.d.Errf("%s %v", name, err)
	}
	*to = value
	return nil
}

func (s *settings) count(to *int) error {
	name := s.d.Val()
	value, err := s.arg()
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(value)
	if err != nil || n <= 0 || n > math.MaxInt32 {
		return s.d.Errf("%s must be a whole number greater than zero, not %q", name, value)
	}
	*to = n
	return nil
}

// size reads a number of bytes from least to most.
func (s *settings) size(to *int64, least, most uint64) error {
	name := s.d.Val()
	value, err := s.arg()
	if err != nil {
		return err
	}
	n, err := humanize.ParseBytes(value)
	if err != nil || n < least || n > most {
		return s.d.Errf("%s must be a size from %s to %s, such as 1MiB, not %q", name, sizeText(least), sizeText(most), value)
	}
	*to = int64(n) //nolint:gosec // most is below 2^63
	return nil
}

// sizeText writes a size as it may be given.
func sizeText(n uint64) string {
	return strings.NewReplacer(".0 ", "", " ", "").Replace(humanize.IBytes(n))
}

func (s *settings) duration(to *caddy.Duration) error {
	name := s.d.Val()
	value, err := s.arg()
	if err != nil {
		return err
	}
	*to, err = s.parseDuration(name, value)
	return err
}

func (s *settings) parseDuration(name, value string) (caddy.Duration, error) {
	duration, err := caddy.ParseDuration(value)
	if err != nil || duration <= 0 {
		return 0, s.d.Errf("%s must be a time greater than zero, such as 10s, 5m, 2h or 7d, not %q", name, value)
	}
	return caddy.Duration(duration), nil
}

// args reads one or more arguments.
func (s *settings) args() ([]string, error) {
	name := s.d.Val()
	values := s.d.RemainingArgs()
	if len(values) == 0 {
		return nil, s.d.Errf("%s needs at least one value", name)
	}
	return values, nil
}
