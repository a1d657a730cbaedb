package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"
)

// TestCertificateThatEnds is none any more, on a connection that was opened
// before it ended.
func TestCertificateThatEnds(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ends := time.Now().Add(time.Hour)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "robot"}, DNSNames: []string{"robot.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: ends, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	near, far := net.Pipe()
	client := tls.Client(far, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}})
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	conn := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MaxVersion: tls.VersionTLS12})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	g := &gatedConn{tls: conn}
	if got := g.certified(time.Now()); !slices.Equal(got, []string{"robot.example", "robot"}) {
		t.Errorf("got %q", got)
	}
	if got := g.certified(ends.Add(time.Second)); got != nil {
		t.Errorf("behind its end: %q", got)
	}
	_ = near.Close()
	_ = far.Close()
}
