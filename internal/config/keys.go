package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// shortestKey is the number of characters below which an API key is no secret
// for long.
const shortestKey = 8

// placeholderKey begins the keys of the project's own examples, which are
// published with it.
const placeholderKey = "replace-this"

// errBlank refuses a key, or the name of its file, that was surely meant to be
// one: without it the server is open to all.
var errBlank = errors.New("is blank: want a key, or nothing at all for a server without one")

// guards reports whether a setting, when it is lost, leaves the server open.
func guards(key string) bool {
	return key == "security.api_key" || key == "security.api_key_file" || key == "security.keys_file"
}

// APIKeys returns the keys of the configuration: security.api_key, and each
// line of security.api_key_file, which is read anew.
func (c *Config) APIKeys() ([]string, error) {
	return keysOf(c.Security.APIKey, c.Security.APIKeyFile)
}

// AdminKeys returns those of security.admin_key and security.admin_key_file.
func (c *Config) AdminKeys() ([]string, error) {
	return keysOf(c.Security.AdminKey, c.Security.AdminKeyFile)
}

func keysOf(one Secret, name string) ([]string, error) {
	var keys []string
	if key := one.Reveal(); key != "" {
		keys = append(keys, key)
	}
	if name == "" {
		return keys, nil
	}
	data, err := readFile(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, reason(err))
	}
	before := len(keys)
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if err := headerText(line); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		keys = append(keys, line)
	}
	if len(keys) == before {
		return nil, fmt.Errorf("%s holds no key", name)
	}
	return keys, nil
}

// checkFiles looks at the files that settings name and the server reads when
// it starts.
func (l *loader) checkFiles() {
	c, problems := l.c, len(l.problems)
	keys, err := c.APIKeys()
	if err != nil {
		l.fail(c.Source("security.api_key_file"), "security.api_key_file", err)
	}
	admins, err := c.AdminKeys()
	if err != nil {
		l.fail(c.Source("security.admin_key_file"), "security.admin_key_file", err)
	}
	if len(l.problems) == problems {
		all, err := c.Keys()
		if err != nil {
			l.fail(c.Source("security.keys_file"), "security.keys_file", err)
		}
		l.adminKey = slices.ContainsFunc(all, func(k Key) bool { return slices.Contains(k.Scopes, "admin") })
	}
	keys = append(keys, admins...)
	l.shortKey = slices.ContainsFunc(keys, func(k string) bool { return len(k) < shortestKey })
	l.knownKey = slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, placeholderKey) })

	if _, err := c.TokenKeys(); err != nil && c.Sessions.TokenKeyFile != "" {
		l.fail(c.Source("sessions.token_key_file"), "sessions.token_key_file", err)
	}

	l.checkDatabase()
	l.checkClientCA()
	cert, key := c.Server.TLSCertFile, c.Server.TLSKeyFile
	ok := cert != "" && key != ""
	for _, f := range []struct{ key, name string }{{"server.tls_cert_file", cert}, {"server.tls_key_file", key}} {
		if f.name == "" {
			continue
		}
		if _, err := readFile(f.name); err != nil {
			l.fail(c.Source(f.key), f.key, fmt.Errorf("%s: %w", f.name, reason(err)))
			ok = false
		}
	}
	if !ok {
		return
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		l.fail(c.Source("server.tls_cert_file"), "server.tls_cert_file", fmt.Errorf("with server.tls_key_file: %s", strings.TrimPrefix(err.Error(), "tls: ")))
	}
}

// checkClientCA looks at the certificates that clients are held to.
func (l *loader) checkClientCA() {
	const key = "server.tls_client_ca_file"
	s := &l.c.Server
	if s.TLSClientCAFile == "" {
		return
	}
	if s.TLSCertFile == "" {
		l.fail(l.c.Source(key), key, errors.New("without server.tls_cert_file no client is asked for a certificate"))
		return
	}
	if _, err := l.c.ClientCAs(); err != nil {
		l.fail(l.c.Source(key), key, err)
	}
}

// ClientCAs returns the certificates of server.tls_client_ca_file, which is
// read anew, or nil where there is none.
func (c *Config) ClientCAs() (*x509.CertPool, error) {
	name := c.Server.TLSClientCAFile
	if name == "" {
		return nil, nil
	}
	data, err := readFile(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, reason(err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", name)
	}
	return pool, nil
}
