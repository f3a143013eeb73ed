package emitter

import (
	"net/netip"
	"slices"
)

// Guard decides which addresses may be dialled: public ones, and those that the operator listed. It is what
// keeps a webhook's URL from reaching into the network that Caddy runs in. The zero value allows public
// addresses only. Safe for concurrent use.
type Guard struct {
	// Allow opens networks that are not public. A prefix opens exactly the addresses it holds, as they are
	// dialled, with IPv4-mapped IPv6 addresses taken for the IPv4 ones they are. An IPv6 prefix does not open
	// an address that embeds a forbidden IPv4 one, unless that is listed too.
	Allow []netip.Prefix
}

// Allowed reports whether addr may be dialled. Addresses with a zone never may.
func (g Guard) Allowed(addr netip.Addr) bool {
	if !addr.IsValid() || addr.Zone() != "" {
		return false
	}
	addr = addr.Unmap()
	listed := g.listed(addr)
	if addr.Is4() {
		return listed || public4(addr)
	}
	if !listed && !public6(addr) {
		return false
	}
	for _, inner := range embedded4(addr) {
		// A listed IPv4 network alone does not open the tunnels into it: only what is listed is opened.
		if !public4(inner) && !(listed && g.listed(inner)) {
			return false
		}
	}
	return true
}

func (g Guard) listed(addr netip.Addr) bool {
	return slices.ContainsFunc(g.Allow, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func public4(addr netip.Addr) bool { return !within(refused4, addr) }

// public6 holds for global unicast space (2000::/3, the only part of IPv6 that is assigned for it) less the
// special purposes inside it.
func public6(addr netip.Addr) bool { return global6.Contains(addr) && !within(refused6, addr) }

func within(table []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(table, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// embedded4 returns the IPv4 addresses that packets to an IPv6 address may end up at, by any of the
// transition mechanisms that write one into the other.
func embedded4(addr netip.Addr) (inner []netip.Addr) {
	b := addr.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	switch {
	case compatible.Contains(addr):
		// :: and ::1 are addresses in their own right (RFC 4291, section 2.5).
		if addr != netip.IPv6Unspecified() && addr != netip.IPv6Loopback() {
			inner = append(inner, at(12))
		}
	case translated.Contains(addr), nat64.Contains(addr):
		inner = append(inner, at(12))
	case nat64Local.Contains(addr):
		inner = append(inner, nat64LocalInner(b)...)
	case sixToFour.Contains(addr):
		inner = append(inner, at(2))
	case teredo.Contains(addr): // RFC 4380, section 4: the server in clear, the client with all bits flipped
		inner = append(inner, at(4), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}))
	}
	// ISATAP (RFC 5214, section 6.1) works under any prefix. The lowest two bits of b[8] may say anything about the address.
	if b[8]&^3 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe {
		inner = append(inner, at(12))
	}
	return inner
}

// nat64LocalInner returns every IPv4 address that an address of the local-use NAT64 prefix can stand for. The
// operator of the translator chose the length of the prefix (RFC 6052, section 2.2: 48, 56, 64 or 96) and
// we cannot know which, so all readings count, but for those that a shorter or longer one fills with zeros.
func nat64LocalInner(b [16]byte) (inner []netip.Addr) {
	for _, reading := range [][4]byte{
		{b[6], b[7], b[9], b[10]},
		{b[7], b[9], b[10], b[11]},
		{b[9], b[10], b[11], b[12]},
		{b[12], b[13], b[14], b[15]},
	} {
		if reading[0] != 0 {
			inner = append(inner, netip.AddrFrom4(reading))
		}
	}
	if len(inner) == 0 {
		inner = append(inner, netip.IPv4Unspecified())
	}
	return inner
}
