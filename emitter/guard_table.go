package emitter

import "net/netip"

// The IANA IPv4 Special-Purpose Address Registry
// (https://www.iana.org/assignments/iana-ipv4-special-registry), as of 2026, with the few blocks beyond it that
// no receiver can live in. Blocks that the registry calls globally reachable are anycast services of the network
// itself, not hosts, and are refused as well.
var special4 = prefixes(
	"0.0.0.0/8",       // this network
	"10.0.0.0/8",      // private use
	"100.64.0.0/10",   // shared address space (CGNAT)
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link local, cloud metadata
	"172.16.0.0/12",   // private use
	"192.0.0.0/24",    // IETF protocol assignments, among them DS-Lite and NAT64 discovery
	"192.0.2.0/24",    // documentation
	"192.31.196.0/24", // AS112-v4
	"192.52.193.0/24", // AMT
	"192.88.99.0/24",  // deprecated 6to4 relay anycast
	"192.168.0.0/16",  // private use
	"192.175.48.0/24", // direct delegation AS112 service
	"198.18.0.0/15",   // benchmarking
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"240.0.0.0/4",     // reserved (class E), with the limited broadcast address

	"224.0.0.0/4",      // multicast, of the IPv4 Multicast Address Space Registry
	"168.63.129.16/32", // Azure's virtual host: public space, but answered by the machine underneath
)

// The part of the IANA IPv6 Special-Purpose Address Registry
// (https://www.iana.org/assignments/iana-ipv6-special-registry), as of 2026, that lies inside 2000::/3. The rest
// of it (::/128, ::1/128, ::ffff:0:0/96, 64:ff9b::/96, 64:ff9b:1::/48, 100::/64, 100:0:0:1::/64, 5f00::/16,
// fc00::/7, fe80::/10) is outside and refused with everything else there, such as multicast (ff00::/8).
// 2002::/16 (6to4) is judged by the IPv4 address inside.
var special6 = prefixes(
	"2001::/23",         // IETF protocol assignments: Teredo, benchmarking, ORCHID, AMT, AS112 and others
	"2001:db8::/32",     // documentation
	"2620:4f:8000::/48", // direct delegation AS112 service
	"3fff::/20",         // documentation
)

var (
	global6    = netip.MustParsePrefix("2000::/3")        // RFC 4291, section 2.4, and the IANA IPv6 address space registry
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291, section 2.5.5.1
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765, section 2.1
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052, section 2.1
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056, section 2
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380, section 2.6
)

func prefixes(cidrs ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(cidrs))
	for i, s := range cidrs {
		ps[i] = netip.MustParsePrefix(s)
	}
	return ps
}
