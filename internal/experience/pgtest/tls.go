//go:build unix

package pgtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// WriteCertificate writes a certificate that vouches for itself and for an
// address, with its key.
func WriteCertificate(cert, key, address string) (*x509.Certificate, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: address}, IPAddresses: []net.IP{net.ParseIP(address)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// EnableTLS starts the server again, so that it takes connections with TLS only,
// and returns the file of the certificate that vouches for it at an address.
func (s *Server) EnableTLS(address string) (string, error) {
	s.Stop()
	cert, key := filepath.Join(s.dir, "server.crt"), filepath.Join(s.dir, "server.key")
	if _, err := WriteCertificate(cert, key, address); err != nil {
		return "", err
	}
	if s.user != nil {
		if err := os.Chown(key, int(s.user.Uid), int(s.user.Gid)); err != nil {
			return "", err
		}
	}
	for name, text := range map[string]string{
		"postgresql.auto.conf": "ssl = on\nssl_cert_file = '" + cert + "'\nssl_key_file = '" + key + "'\n",
		"pg_hba.conf":          "hostssl all all 127.0.0.1/32 scram-sha-256\n",
	} {
		if err := os.WriteFile(filepath.Join(s.data(), name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	s.tls = true
	return cert, s.Run()
}
