package emitter

import "net/netip"

// refused4 and refused6 are the blocks that no receiver can live in. Blocks that the registries call globally reachable are
// anycast services of the network itself, not hosts, and are refused as well.
var (
	refused4 = append(blocks(netip.Addr.Is4),
		netip.MustParsePrefix("224.0.0.0/4"), // multicast, of the IPv4 Multicast Address Space Registry
		// Azure's virtual host: public by its number, but answered by the machine underneath, which hands out
		// certificates and settings (the "wire server"). Nobody else can have a receiver there.
		netip.MustParsePrefix("168.63.129.16/32"),
	)
	// refused6 are those inside [global6]; what is outside is refused whatever it is, such as multicast (ff00::/8). 6to4 is
	// judged by the IPv4 address inside.
	refused6 = blocks(func(addr netip.Addr) bool { return global6.Contains(addr) && !sixToFour.Contains(addr) })
)

// blocks are those rows of the registries whose addresses are of some kind.
func blocks(kind func(netip.Addr) bool) (found []netip.Prefix) {
	for _, s := range specials {
		if kind(s.block.Addr()) {
			found = append(found, s.block)
		}
	}
	return found
}

var (
	global6    = netip.MustParsePrefix("2000::/3")        // RFC 4291, section 2.4, and the IANA IPv6 address space registry
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291, section 2.5.5.1
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765, section 2.1
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052, section 2.1
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056, section 2
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380, section 2.6
)
