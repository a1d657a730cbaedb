package server

import (
	"net/netip"
	"sync"
)

// bodyMemory is what the large bodies of all connections may take together.
// One address has at most half of it, so that a client that announces bodies
// and sends none leaves room for others; the clients of one network of IPv6,
// who can choose among its addresses, count as one.
type bodyMemory struct {
	max, share int64

	mu      sync.Mutex // guards what follows
	total   int64
	perAddr map[netip.Prefix]int64
}

func (m *bodyMemory) init(total, largest int64) {
	m.max, m.share = total, max(total/2, largest)
	m.perAddr = map[netip.Prefix]int64{}
}

// take reserves n bytes, or reports that there is no room.
func (m *bodyMemory) take(addr netip.Addr, n int64) bool {
	key := network(addr)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.total+n > m.max || key.IsValid() && m.perAddr[key]+n > m.share {
		return false
	}
	m.total += n
	if key.IsValid() {
		m.perAddr[key] += n
	}
	return true
}

// give returns n of the bytes that take reserved for the address.
func (m *bodyMemory) give(addr netip.Addr, n int64) {
	key := network(addr)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total -= n
	if !key.IsValid() {
		return
	}
	if m.perAddr[key] -= n; m.perAddr[key] <= 0 {
		delete(m.perAddr, key)
	}
}

// network is what a client with the address is taken to own; the zero Prefix
// for a client without one.
func network(addr netip.Addr) netip.Prefix {
	const host, network6 = 32, 64
	bits := host
	if addr.Is6() {
		bits = network6
	}
	p, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
