package server

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
)

// hostList are the hosts that the server answers for; without patterns it is
// every host, or every name of this machine alone.
type hostList struct {
	patterns []hostPattern
	loopback bool // without patterns: loopback addresses and localhost
	// last is the Host header that was last allowed, which mostly is the next
	// one too.
	last atomic.Pointer[string]
}

// hostPattern is one entry of the list.
type hostPattern struct {
	name  string // lower case, without port, brackets and trailing dot
	below bool   // stands for what is below name, as "*.name" says
}

func parseHosts(list []string) ([]hostPattern, error) {
	var hosts []hostPattern
	for _, entry := range list {
		h := strings.ToLower(strings.TrimSpace(entry))
		if h == "*" {
			return nil, nil
		}
		var p hostPattern
		h, p.below = strings.CutPrefix(h, "*.")
		p.name = normalHost(h)
		if p.name == "" || strings.ContainsAny(p.name, "*/@ ") {
			return nil, fmt.Errorf("allowed host %q: expected a name, an address, \"*.name\" or \"*\"", entry)
		}
		hosts = append(hosts, p)
	}
	return hosts, nil
}

// allow reports whether a Host header names a host of the list. Ports do not
// count, nor does case, nor the dot that ends a full name.
func (l *hostList) allow(header []byte) bool {
	if len(l.patterns) == 0 && !l.loopback {
		return true
	}
	if last := l.last.Load(); last != nil && *last == string(header) {
		return true
	}
	given := string(header)
	name := normalHost(strings.ToLower(given))
	if name == "" {
		return false
	}
	ok := l.loopback && loopbackName(name)
	for _, p := range l.patterns {
		ok = ok || p.match(name)
	}
	if ok {
		l.last.Store(&given)
	}
	return ok
}

// loopbackName reports whether a normal host can only be this machine: a
// loopback address, or localhost and what is below it (RFC 6761).
func loopbackName(name string) bool {
	if a, err := netip.ParseAddr(name); err == nil {
		return a.IsLoopback()
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

func (p hostPattern) match(name string) bool {
	if !p.below {
		return name == p.name
	}
	sub, ok := strings.CutSuffix(name, p.name)
	return ok && len(sub) > 1 && sub[len(sub)-1] == '.'
}

// normalHost strips port, brackets and the trailing dot of a lower-case host.
// It returns "" for what is no host.
func normalHost(h string) string {
	if strings.HasPrefix(h, "[") {
		inside, port, ok := strings.Cut(h[1:], "]")
		if !ok || port != "" && !isPort(port) {
			return ""
		}
		h = inside
	} else if name, port, ok := strings.Cut(h, ":"); ok && !strings.Contains(port, ":") {
		if !isPort(":" + port) {
			return ""
		}
		h = name
	}
	if a, err := netip.ParseAddr(h); err == nil {
		return a.Unmap().String()
	}
	if strings.Contains(h, ":") {
		return ""
	}
	return strings.TrimSuffix(h, ".")
}

func isPort(s string) bool {
	if len(s) < 2 || len(s) > 6 || s[0] != ':' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !digit(s[i]) {
			return false
		}
	}
	return true
}
