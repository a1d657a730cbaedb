package server

import (
	"time"
)

// A client may show a certificate in place of a key. Over TLS with an authority
// for clients the handshake has checked it; what it says of its holder are names:
// URIs, names of DNS, addresses of mail, and the common name. A key of the table
// that has one of them is the client's, with its scopes, its rate and its name in
// logs. A text that the request carries goes first.

// maxCertNames is how many names of one certificate are looked for.
const maxCertNames = 16

// haveCertificates reports whether any key is one of certificates. There may be
// no keys at all.
func (k *Keys) haveCertificates() bool { return k != nil && len(k.table.Load().certs) > 0 }

// certified returns the key that the first of some names has which has one, nil
// where none has or it has expired.
func (k *Keys) certified(names []string, now time.Time) *knownKey {
	certs := k.table.Load().certs
	for _, name := range names {
		if key := certs[name]; key != nil {
			if key.expired(now) {
				return nil
			}
			return key
		}
	}
	return nil
}

// clientNames are what the certificate of a connection says of its holder.
type clientNames struct {
	read  bool
	until time.Time // when the certificate ends
	names []string
}

// certified returns the names in the certificate of the client, none where it
// showed none that was checked, or where it has ended since. It is called by
// whoever answers a request, one at a time.
func (c *gatedConn) certified(now time.Time) []string {
	n := &c.client
	if !n.read {
		n.read = true
		state := c.tls.ConnectionState() // the handshake was over before the request
		if len(state.VerifiedChains) == 0 {
			return nil
		}
		leaf := state.PeerCertificates[0]
		n.until = leaf.NotAfter
		for _, uri := range leaf.URIs {
			n.names = append(n.names, uri.String())
		}
		n.names = append(append(n.names, leaf.DNSNames...), leaf.EmailAddresses...)
		if name := leaf.Subject.CommonName; name != "" {
			n.names = append(n.names, name)
		}
		n.names = n.names[:min(len(n.names), maxCertNames)]
	}
	if now.After(n.until) {
		return nil
	}
	return n.names
}
