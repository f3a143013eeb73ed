package emitter

import "net/netip"

// special is a row of one of IANA's special-purpose address registries.
type special struct {
	block netip.Prefix
	name  string
	rfc   string
	// global is the column "Globally Reachable". Where the registry says N/A (Teredo, 6to4) or nothing (blocks given
	// back) it is false.
	global bool
}

// specials are the two registries, 25 rows each (the one with two addresses is two here), in their order:
//
//   - https://www.iana.org/assignments/iana-ipv4-special-registry
//   - https://www.iana.org/assignments/iana-ipv6-special-registry
//
// They stand as the registries did in October 2025 (2025-10-09 is the IPv6 one's last change that we know of), written down by
// hand and compared with a copy of their tables on 2026-11-24, not with IANA's own page. When IANA adds a row, add it here; until
// then an address outside 2000::/3 is refused all the same.
var specials = []special{
	row("0.0.0.0/8", "This network", "RFC 791", false),
	row("0.0.0.0/32", "This host on this network", "RFC 1122", false),
	row("10.0.0.0/8", "Private-Use", "RFC 1918", false),
	row("100.64.0.0/10", "Shared Address Space", "RFC 6598", false),
	row("127.0.0.0/8", "Loopback", "RFC 1122", false),
	row("169.254.0.0/16", "Link Local", "RFC 3927", false), // most clouds' metadata
	row("172.16.0.0/12", "Private-Use", "RFC 1918", false),
	row("192.0.0.0/24", "IETF Protocol Assignments", "RFC 6890", false), // 192.0.0.192 is Oracle's metadata
	row("192.0.0.0/29", "IPv4 Service Continuity Prefix", "RFC 7335", false),
	row("192.0.0.8/32", "IPv4 dummy address", "RFC 7600", false),
	row("192.0.0.9/32", "Port Control Protocol Anycast", "RFC 7723", true),
	row("192.0.0.10/32", "Traversal Using Relays around NAT Anycast", "RFC 8155", true),
	row("192.0.0.170/32", "NAT64/DNS64 Discovery", "RFC 8880", false),
	row("192.0.0.171/32", "NAT64/DNS64 Discovery", "RFC 8880", false),
	row("192.0.2.0/24", "Documentation (TEST-NET-1)", "RFC 5737", false),
	row("192.31.196.0/24", "AS112-v4", "RFC 7535", true),
	row("192.52.193.0/24", "AMT", "RFC 7450", true),
	row("192.88.99.0/24", "Deprecated (6to4 Relay Anycast)", "RFC 7526", false),
	row("192.88.99.2/32", "6a44-relay anycast address", "RFC 6751", false),
	row("192.168.0.0/16", "Private-Use", "RFC 1918", false),
	row("192.175.48.0/24", "Direct Delegation AS112 Service", "RFC 7534", true),
	row("198.18.0.0/15", "Benchmarking", "RFC 2544", false),
	row("198.51.100.0/24", "Documentation (TEST-NET-2)", "RFC 5737", false),
	row("203.0.113.0/24", "Documentation (TEST-NET-3)", "RFC 5737", false),
	row("240.0.0.0/4", "Reserved", "RFC 1112", false),
	row("255.255.255.255/32", "Limited Broadcast", "RFC 8190", false),

	row("::1/128", "Loopback Address", "RFC 4291", false),
	row("::/128", "Unspecified Address", "RFC 4291", false),
	row("::ffff:0:0/96", "IPv4-mapped Address", "RFC 4291", false),
	row("64:ff9b::/96", "IPv4-IPv6 Translat.", "RFC 6052", true),
	row("64:ff9b:1::/48", "IPv4-IPv6 Translat.", "RFC 8215", false),
	row("100::/64", "Discard-Only Address Block", "RFC 6666", false),
	row("100:0:0:1::/64", "Dummy IPv6 Prefix", "RFC 9780", false),
	row("2001::/23", "IETF Protocol Assignments", "RFC 2928", false),
	row("2001::/32", "TEREDO", "RFC 4380", false),
	row("2001:1::1/128", "Port Control Protocol Anycast", "RFC 7723", true),
	row("2001:1::2/128", "Traversal Using Relays around NAT Anycast", "RFC 8155", true),
	row("2001:1::3/128", "DNS-SD Service Registration Protocol Anycast", "RFC 9665", true),
	row("2001:2::/48", "Benchmarking", "RFC 5180", false),
	row("2001:3::/32", "AMT", "RFC 7450", true),
	row("2001:4:112::/48", "AS112-v6", "RFC 7535", true),
	row("2001:10::/28", "Deprecated (previously ORCHID)", "RFC 4843", false),
	row("2001:20::/28", "ORCHIDv2", "RFC 7343", true),
	row("2001:30::/28", "Drone Remote ID Protocol Entity Tags (DETs) Prefix", "RFC 9374", true),
	row("2001:db8::/32", "Documentation", "RFC 3849", false),
	row("2002::/16", "6to4", "RFC 3056", false),
	row("2620:4f:8000::/48", "Direct Delegation AS112 Service", "RFC 7534", true),
	row("3fff::/20", "Documentation", "RFC 9637", false),
	row("5f00::/16", "Segment Routing (SRv6) SIDs", "RFC 9602", false),
	row("fc00::/7", "Unique-Local", "RFC 4193", false), // fd00:ec2::254 and fd20:ce::254 are Amazon's and Google's metadata
	row("fe80::/10", "Link-Local Unicast", "RFC 4291", false),
}

func row(block, name, rfc string, global bool) special {
	return special{netip.MustParsePrefix(block), name, rfc, global}
}
