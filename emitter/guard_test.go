package emitter

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func prefixes(cidrs ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(cidrs))
	for i, s := range cidrs {
		ps[i] = netip.MustParsePrefix(s)
	}
	return ps
}

func TestGuardRefusesWhatIsNotPublic(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "172.15.255.255": true, "172.32.0.0": true, "100.63.255.255": true,
		"100.128.0.0": true, "192.0.1.0": true, "198.17.255.255": true, "198.20.0.0": true, "223.255.255.255": true,
		"126.255.255.255": true, "128.0.0.0": true, "168.63.129.15": true, "2606:4700::1111": true, "2a00::1": true,
		"2001:200::1": true, "::ffff:8.8.8.8": true, "2002:808:808::1": true, "2600::5efe:8.8.8.8": true,

		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "100.64.0.1": false, "127.0.0.1": false,
		"127.255.255.255": false, "169.254.169.254": false, "172.16.0.1": false, "172.31.255.255": false,
		"192.0.0.1": false, "192.0.0.170": false, "192.0.2.1": false, "192.88.99.1": false, "192.168.1.1": false,
		"198.18.0.1": false, "198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false, "239.255.255.255": false,
		"240.0.0.1": false, "255.255.255.255": false, "168.63.129.16": false, "100.100.100.200": false,

		"::": false, "::1": false, "::2": false, "fe80::1": false, "fec0::1": false, "fc00::1": false,
		"fd00:ec2::254": false, "ff02::1": false, "100::1": false, "2001:db8::1": false, "3fff::1": false,
		"5f00::1": false, "2001:10::1": false, "2001:2::1": false, "4000::1": false, "2620:4f:8000::1": false,

		// IPv4 in disguise
		"::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "::127.0.0.1": false, "::8.8.8.8": false,
		"::ffff:0:127.0.0.1": false, "64:ff9b::127.0.0.1": false, "64:ff9b::8.8.8.8": false,
		"64:ff9b:1::10.0.0.1": false, "2002:7f00:1::": false, "2002:a9fe:a9fe::1": false, "2002:a00:1::1": false,
		"2001:0:7f00:1::": false, "2001:0:808:808::80ff:fffe": false, "2600::5efe:127.0.0.1": false,
		"2600::200:5efe:10.0.0.1": false, "2600:0:0:0:200:5efe:a9fe:a9fe": false,
	} {
		if got := (Guard{}).Allowed(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: allowed is %v, want %v", addr, got, want)
		}
	}
	if (Guard{}).Allowed(netip.Addr{}) {
		t.Error("the zero address is allowed")
	}
	if (Guard{Allow: prefixes("::/0", "0.0.0.0/0")}).Allowed(netip.MustParseAddr("fe80::1%eth0")) {
		t.Error("an address with a zone is allowed")
	}
}

func TestAllowOpensExactlyWhatItSays(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		allow []string
		addr  string
		want  bool
	}{
		{[]string{"10.20.0.0/16"}, "10.20.3.4", true},
		{[]string{"10.20.0.0/16"}, "10.21.3.4", false},
		{[]string{"10.20.0.0/16"}, "::ffff:10.20.3.4", true},
		{[]string{"10.20.0.0/16"}, "8.8.8.8", true},
		{[]string{"::1/128"}, "::1", true},
		{[]string{"::1/128"}, "127.0.0.1", false},
		{[]string{"127.0.0.0/8"}, "::1", false},
		{[]string{"fd00::/8"}, "fd00::1", true},
		// listing the IPv4 network does not open the tunnels into it
		{[]string{"10.0.0.0/8"}, "2002:a00:1::1", false},
		{[]string{"10.0.0.0/8"}, "64:ff9b::10.0.0.1", false},
		{[]string{"10.0.0.0/8"}, "2600::5efe:10.0.0.1", false},
		// listing the tunnel does not open what is at its other end
		{[]string{"64:ff9b::/96"}, "64:ff9b::8.8.8.8", true},
		{[]string{"64:ff9b::/96"}, "64:ff9b::127.0.0.1", false},
		{[]string{"64:ff9b::/96", "127.0.0.0/8"}, "64:ff9b::127.0.0.1", true},
		{[]string{"2001::/32"}, "2001:0:808:808::f7f7:f7f7", true},    // client 8.8.8.8
		{[]string{"2001::/32"}, "2001:0:808:808::80ff:fffe", false},   // client 127.0.0.1
		{[]string{"2001::/32"}, "2001:0:7f00:1::f7f7:f7f7", false},    // server 127.0.0.1
		{[]string{"fd00::/8"}, "fd00::5efe:169.254.169.254", false},   // ISATAP
		{[]string{"::/0"}, "::ffff:127.0.0.1", false},                 // it is IPv4
		{[]string{"::/0"}, "::127.0.0.1", false},                      // compatible
		{[]string{"::/0"}, "::", true},                                // as it says
		{[]string{"64:ff9b:1::/48"}, "64:ff9b:1::8.8.8.8", true},      // /96
		{[]string{"64:ff9b:1::/48"}, "64:ff9b:1::10.0.0.1", false},    // /96
		{[]string{"64:ff9b:1::/48"}, "64:ff9b:1:7f00:0:100::", false}, // /48
		{[]string{"64:ff9b:1::/48"}, "64:ff9b:1:808:8:800::", true},   // /48
		{[]string{"64:ff9b:1::/48"}, "64:ff9b:1::", false},
	} {
		if got := (Guard{Allow: prefixes(row.allow...)}).Allowed(netip.MustParseAddr(row.addr)); got != row.want {
			t.Errorf("allow %v, %s: allowed is %v, want %v", row.allow, row.addr, got, row.want)
		}
	}
}

// anyAddr is an address of any form: under or beside a row of the registries, or anywhere, and possibly with an IPv4
// address of such a kind at one of the places where IPv6 addresses have them.
func anyAddr() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		if rapid.Bool().Draw(t, "IPv4") {
			return anyAddr4().Draw(t, "address")
		}
		b := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "IPv6"))
		networks := append(prefixes("2000::/3", "2600::/12", "::/96", "::ffff:0:0:0/96", "fec0::/10", "ff00::/8"), blocks(netip.Addr.Is6)...)
		p := rapid.SampledFrom(networks).Draw(t, "network")
		from := p.Addr().As16()
		for i := range p.Bits() {
			mask := byte(0x80) >> (i % 8)
			b[i/8] = b[i/8]&^mask | from[i/8]&mask
		}
		inner := anyAddr4().Draw(t, "inner").As4()
		switch rapid.IntRange(0, 5).Draw(t, "embedding") {
		case 0:
			copy(b[12:], inner[:])
		case 1:
			copy(b[2:], inner[:])
		case 2: // ISATAP
			copy(b[8:], []byte{rapid.SampledFrom([]byte{0, 1, 2, 3, 4}).Draw(t, "u"), 0, 0x5e, 0xfe})
			copy(b[12:], inner[:])
		case 3: // Teredo
			copy(b[4:], inner[:])
			copy(b[12:], []byte{^inner[0], ^inner[1], ^inner[2], ^inner[3]})
		}
		return netip.AddrFrom16(b)
	})
}

func anyAddr4() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		if rapid.Bool().Draw(t, "anywhere") {
			return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "IPv4")))
		}
		return inside(t, rapid.SampledFrom(refused4).Draw(t, "network"))
	})
}

// TestGuardIsStricterThanTheStandardLibrary compares with the predicates of netip, which know less.
func TestGuardIsStricterThanTheStandardLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		addr := anyAddr().Draw(t, "address")
		if !(Guard{}).Allowed(addr) {
			return
		}
		plain := addr.Unmap()
		if plain.IsPrivate() || plain.IsLoopback() || plain.IsMulticast() || plain.IsLinkLocalUnicast() ||
			plain.IsUnspecified() || plain.IsInterfaceLocalMulticast() || !plain.IsGlobalUnicast() {
			t.Fatalf("%v is allowed", addr)
		}
	})
}

// TestNoSpellingOpensARefusedAddress writes refused IPv4 addresses in every IPv6 form.
func TestNoSpellingOpensARefusedAddress(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SampledFrom(refused4).Draw(t, "network")
		b := p.Addr().As4()
		for i, r := range rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "host") {
			keep := byte(0xff << max(0, min(8, 8*(i+1)-p.Bits())))
			b[i] = b[i]&keep | r&^keep
		}
		inner := netip.AddrFrom4(b)
		if !p.Contains(inner) {
			t.Fatalf("%v is not in %v", inner, p)
		}
		put := func(prefix string, at int, flip byte) netip.Addr {
			a := netip.MustParseAddr(prefix).As16()
			for i := range b {
				a[at+i] = b[i] ^ flip
			}
			return netip.AddrFrom16(a)
		}
		for _, addr := range []netip.Addr{
			inner, put("::ffff:0.0.0.0", 12, 0), put("::", 12, 0), put("64:ff9b::", 12, 0), put("64:ff9b:1::", 12, 0),
			put("2002::", 2, 0), put("2001:0:808:808::", 12, 0xff), put("2001::", 4, 0), put("2600::5efe:0:0", 12, 0),
			put("2600::200:5efe:0:0", 12, 0), put("::ffff:0:0:0", 12, 0),
		} {
			if (Guard{}).Allowed(addr) {
				t.Fatalf("%v lets %v through", addr, inner)
			}
		}
	})
}

func FuzzGuard(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "::1", "fe80::1%eth0", "2002:7f00:1::", "::ffff:10.0.0.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return
		}
		if (Guard{}).Allowed(addr) && (addr.Zone() != "" || !addr.Unmap().IsGlobalUnicast() || addr.Unmap().IsPrivate()) {
			t.Errorf("%v is allowed", addr)
		}
	})
}
