package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
)

// certificates are what TLS is spoken with, which may be replaced while the
// server runs. nil is a server without TLS.
type certificates struct {
	current atomic.Pointer[tls.Config]
	ends    atomic.Pointer[time.Time]
}

// openCertificates reads those of the configuration.
func openCertificates(cfg *config.Config) (*certificates, error) {
	if cfg.Server.TLSCertFile == "" {
		return nil, nil
	}
	c := &certificates{}
	return c, c.load(cfg)
}

// load takes what the files hold, or changes nothing. The settings are made
// anew as a whole, so that no session of TLS goes on that was begun with others.
func (c *certificates) load(cfg *config.Config) error {
	cert, err := tls.LoadX509KeyPair(cfg.Server.TLSCertFile, cfg.Server.TLSKeyFile)
	if err != nil {
		return fmt.Errorf("server.tls_cert_file and server.tls_key_file: %w", err)
	}
	clients, err := cfg.ClientCAs()
	if err != nil {
		return fmt.Errorf("server.tls_client_ca_file: %w", err)
	}
	t := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
		Certificates: []tls.Certificate{cert},
	}
	if cfg.Server.TLSMinVersion == "1.3" {
		t.MinVersion = tls.VersionTLS13
	}
	if clients != nil {
		t.ClientCAs, t.ClientAuth = clients, tls.RequireAndVerifyClientCert
	}
	c.ends.Store(&cert.Leaf.NotAfter)
	c.current.Store(t)
	return nil
}

// expiry is when the certificate in force ends.
func (c *certificates) expiry() time.Time {
	if c == nil {
		return time.Time{}
	}
	return *c.ends.Load()
}

// secure speaks TLS on the listener where there is a certificate.
func (c *certificates) secure(ln net.Listener) net.Listener {
	if c == nil {
		return ln
	}
	return &tlsListener{raw: ln, Listener: tls.NewListener(ln, &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil },
	})}
}

// files are those that the certificates are read from.
func (c *certificates) files(cfg *config.Config) watchedFiles {
	w := watchedFiles{what: "certificate", load: func() (string, error) {
		err := c.load(cfg)
		return "valid until " + c.expiry().UTC().Format(time.RFC3339), err
	}}
	if c == nil {
		return w
	}
	w.names = []string{cfg.Server.TLSCertFile, cfg.Server.TLSKeyFile}
	if name := cfg.Server.TLSClientCAFile; name != "" {
		w.names = append(w.names, name)
	}
	return w
}

// tlsListener is a listener of TLS that does not hide its descriptor, which
// the server needs to stop without losing a connection.
type tlsListener struct {
	net.Listener
	raw net.Listener
}

// Unlink makes it so that no new connection can begin, where raw can.
func (l *tlsListener) Unlink() error {
	if u, ok := l.raw.(interface{ Unlink() error }); ok {
		return u.Unlink()
	}
	return errors.ErrUnsupported
}

// SyscallConn implements syscall.Conn.
func (l *tlsListener) SyscallConn() (syscall.RawConn, error) {
	if c, ok := l.raw.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
