package websocket_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// TestOverTLS carries messages through a layer above the socket, newest-wins
// among them.
func TestOverTLS(t *testing.T) {
	server, client := dial(t)
	cert := selfSigned(t)
	s := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}})
	cl := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
	shaken := make(chan error, 1)
	go func() { shaken <- s.Handshake() }()
	if err := cl.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	c := websocket.New(s, websocket.Options{})
	defer c.End()
	const n = 50
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range n {
			_, _ = cl.Write(frame(binry, strings.Repeat(string(rune('A'+i)), 20_000)))
		}
	})
	defer writer.Wait()
	for seen := -1; seen < n-1; {
		m, err := c.Read()
		for ok := true; ok && err == nil; m, ok, err = c.Poll() {
			i := int(m.Payload[0] - 'A')
			if i <= seen || len(m.Payload) != 20_000 {
				t.Fatalf("message %d after %d", i, seen)
			}
			seen = i
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// selfSigned returns a certificate for this test.
func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, of, of, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
