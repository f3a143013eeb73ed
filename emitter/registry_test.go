package emitter

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRegistriesAreWellFormed(t *testing.T) {
	t.Parallel()
	seen := make(map[netip.Prefix]bool)
	for _, s := range specials {
		if s.block != s.block.Masked() || s.name == "" || !strings.HasPrefix(s.rfc, "RFC ") || seen[s.block] {
			t.Errorf("row %+v", s)
		}
		seen[s.block] = true
	}
	if len(specials) != 51 {
		t.Errorf("%d rows, want 26 and 25", len(specials))
	}
}

// TestGuardFollowsTheRegistries looks at the first, the last and any address of every row, whatever the registry says about
// its being reachable, and at its neighbors.
func TestGuardFollowsTheRegistries(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(specials).Draw(t, "row")
		first, last := s.block.Addr(), lastOf(s.block)
		for _, addr := range []netip.Addr{first, last, inside(t, s.block), first.Prev(), last.Next()} {
			if !addr.IsValid() {
				continue // before 0.0.0.0, after 255.255.255.255
			}
			if got, want := (Guard{}).Allowed(addr), byTheBook(addr); got != want {
				t.Fatalf("%v, at %s (%s, %s): allowed is %v, want %v", addr, s.block, s.name, s.rfc, got, want)
			}
		}
	})
}

// TestGuardAgreesWithTheRegistriesEverywhere does the same for addresses of all forms.
func TestGuardAgreesWithTheRegistriesEverywhere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		addr := anyAddr().Draw(t, "address")
		if got, want := (Guard{}).Allowed(addr), byTheBook(addr); got != want {
			t.Fatalf("%v: allowed is %v, want %v", addr, got, want)
		}
	})
}

// TestAllowOpensNothingBeside has any network allowed, and looks at addresses outside it.
func TestAllowOpensNothingBeside(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		allow := netip.PrefixFrom(anyAddr().Draw(t, "network").Unmap(), 0)
		allow, err := allow.Addr().Prefix(rapid.IntRange(0, allow.Addr().BitLen()).Draw(t, "bits"))
		if err != nil {
			t.Fatal(err)
		}
		addr := anyAddr().Draw(t, "address").Unmap()
		got := (Guard{Allow: []netip.Prefix{allow}}).Allowed(addr)
		if !allow.Contains(addr) && got != byTheBook(addr) {
			t.Fatalf("allow %v, %v: allowed is %v", allow, addr, got)
		}
		// Inside, all that may still refuse it is an IPv4 address within.
		if allow.Contains(addr) && !got && (addr.Is4() || len(embedded4(addr)) == 0) {
			t.Fatalf("allow %v, %v: refused", allow, addr)
		}
	})
}

// byTheBook says the same as a guard that allows nothing, written down another way: rows of the registries compared as
// texts of bits, IPv4 addresses cut out of hexadecimal digits.
func byTheBook(addr netip.Addr) bool {
	addr = addr.Unmap()
	for _, s := range specials {
		if s.block.Addr().Is4() == addr.Is4() && s.rfc != "RFC 3056" && strings.HasPrefix(bits(addr), bits(s.block.Addr())[:s.block.Bits()]) {
			return false
		}
	}
	if addr.Is4() {
		return !addr.IsMulticast() && addr.String() != "168.63.129.16"
	}
	if !strings.HasPrefix(bits(addr), "001") {
		return false
	}
	digits := hex.EncodeToString(addr.AsSlice())
	plain := func(from int) bool {
		four, _ := hex.DecodeString(digits[from : from+8])
		return byTheBook(netip.AddrFrom4([4]byte(four)))
	}
	if strings.HasPrefix(digits, "2002") && !plain(4) {
		return false
	}
	isatap := strings.ContainsAny(digits[17:18], "0123") && digits[16:17] == "0" && digits[18:24] == "005efe"
	return !isatap || plain(24)
}

func bits(addr netip.Addr) string {
	var b strings.Builder
	for _, octet := range addr.AsSlice() {
		text := strconv.FormatUint(uint64(octet), 2)
		b.WriteString(strings.Repeat("0", 8-len(text)) + text)
	}
	return b.String()
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// inside is an address of a network.
func inside(t *rapid.T, p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	noise := rapid.SliceOfN(rapid.Byte(), len(b), len(b)).Draw(t, "host")
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= noise[i/8] & (0x80 >> (i % 8))
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}
