package config

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// unixScheme begins the name of a Unix domain socket.
const unixScheme = "unix://"

// maxSocketPath is the longest path that is taken. The system's limit is 107
// bytes, of which some are for the name under which the socket is made.
const maxSocketPath = 85

func socketPath(path string) error {
	switch {
	case !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/"):
		return fmt.Errorf("want a path from the root, as in unix:///run/carla-rl.sock, got %s", quote(unixScheme+path))
	case len(path) > maxSocketPath:
		return fmt.Errorf("want a path of at most %d bytes, got %d: %s", maxSocketPath, len(path), quote(path))
	case strings.IndexByte(path, 0) >= 0:
		return fmt.Errorf("want a path, got %s", quote(path))
	}
	return nil
}

// SocketPath is the path of the Unix domain socket to listen on, "" where the
// server listens on an address.
func (s *Server) SocketPath() string {
	path, ok := strings.CutPrefix(s.Host, unixScheme)
	if !ok {
		return ""
	}
	return path
}

// AdminAddress is where the routes of admins are answered: a host and a port,
// or the path of a Unix domain socket; nothing where they have no place of
// their own.
func (s *Server) AdminAddress() (host string, port int, path string) {
	if path, ok := strings.CutPrefix(s.AdminListen, unixScheme); ok {
		return "", 0, path
	}
	host, digits, err := net.SplitHostPort(s.AdminListen)
	if err != nil {
		return "", 0, ""
	}
	port, _ = strconv.Atoi(digits) // was checked when it was loaded
	return host, port, ""
}

// listening holds a setting to an address with a port, or the path of a Unix
// domain socket. Every address at once has to be said, as 0.0.0.0.
func listening(v *string) func() error {
	return func() error {
		if *v == "" {
			return nil
		}
		if path, ok := strings.CutPrefix(*v, unixScheme); ok {
			return socketPath(path)
		}
		host, digits, err := net.SplitHostPort(*v)
		port, bad := strconv.ParseUint(digits, 10, 16)
		_, noAddr := netip.ParseAddr(host)
		if err != nil || bad != nil || noAddr != nil && !isHostname(host) {
			return fmt.Errorf("want an address with a port, such as 127.0.0.1:8081, or unix:///path, got %s", quote(*v))
		}
		*v = net.JoinHostPort(host, strconv.FormatUint(port, 10))
		return nil
	}
}

// Mode is the mode of the file of a Unix domain socket.
func (s *Server) Mode() fs.FileMode {
	m, _ := strconv.ParseUint(s.SocketMode, 8, 32) // was checked when it was loaded
	return fs.FileMode(m)
}

// mode holds the mode of a file to three octal digits.
func mode(v *string) func() error {
	return func() error {
		if m, err := strconv.ParseUint(*v, 8, 32); err != nil || m > 0o777 || m == 0 || len(*v) > 4 {
			return fmt.Errorf("want the mode of a file in octal, such as 0660, got %s", quote(*v))
		}
		return nil
	}
}
