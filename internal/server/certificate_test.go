package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// authority signs certificates of clients.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour)})
	return a
}

func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore = big.NewInt(1), time.Now().Add(-time.Hour)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// client is one whose certificate has some names.
func (a *authority) client(addr string, c x509.Certificate) *http.Client {
	a.t.Helper()
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	cert, key := a.sign(&c)
	tr := &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
	}}
	a.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// serveClients is a server that asks clients for certificates of an authority.
func serveClients(t *testing.T, a *authority, o server.Options) *site {
	t.Helper()
	s, err := server.New(&fakeBackend{contract: driving()}, o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	config := &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}, MinVersion: tls.VersionTLS12, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven}
	done := make(chan error, 1)
	go func() { done <- s.Serve(tls.NewListener(ln, config)) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-done
	})
	return &site{Server: s, addr: ln.Addr().String(), t: t}
}

// over makes a request with a client.
func (s *site) over(c *http.Client, method, path, body string, headers ...string) int {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "https://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	r, err := c.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

// certified is a key that certificates stand for.
func certified(name, cert string, scopes server.Scope) server.Key {
	return server.Key{Name: name, Certificate: cert, Scopes: scopes}
}

// TestCertificatesAreKeys: the name in a certificate is a key of the table, with
// its scopes and on every route, hot ones among them.
func TestCertificatesAreKeys(t *testing.T) {
	a := newAuthority(t)
	spiffe, err := url.Parse("spiffe://fleet.example/ops")
	if err != nil {
		t.Fatal(err)
	}
	past := certified("past", "past", server.ScopeAdmin)
	past.Expires = time.Now().Add(-time.Second)
	out := &lines{}
	s := serveClients(t, a, server.Options{
		Limits: fast(), MetricsHandler: emptyMetrics, AccessLog: true, Logger: slog.New(slog.NewJSONHandler(out, nil)),
		Keys: keysOf(t, certified("robot", "robot-7.fleet.example", server.ScopeInfer), certified("scraper", "prometheus", server.ScopeMetrics),
			certified("ops", spiffe.String(), server.ScopeAdmin), past, infer("a-key")),
	})
	named := func(name string) x509.Certificate { return x509.Certificate{Subject: pkix.Name{CommonName: name}} }
	for _, c := range []struct {
		name                   string
		cert                   x509.Certificate
		infer, metrics, reload int
	}{
		{"of nobody", named("other"), 401, 401, 401},
		{"without a name", x509.Certificate{}, 401, 401, 401},
		{"robot by DNS", x509.Certificate{DNSNames: []string{"robot-7.fleet.example"}}, 200, 403, 403},
		{"robot by common name", named("robot-7.fleet.example"), 200, 403, 403},
		{"robot with another name first", x509.Certificate{DNSNames: []string{"a.example", "robot-7.fleet.example"}}, 200, 403, 403},
		{"below its name", named("x.robot-7.fleet.example"), 401, 401, 401},
		{"in another case", named("Robot-7.fleet.example"), 401, 401, 401},
		{"scraper", named("prometheus"), 403, 200, 403},
		{"ops by URI", x509.Certificate{URIs: []*url.URL{spiffe}}, 200, 200, 200},
		{"expired in the table", named("past"), 401, 401, 401},
		{"name of the key, not of the certificate", named("ops"), 401, 401, 401},
	} {
		client := a.client(s.addr, c.cert)
		for range 3 { // the later ones go the hot way
			if got := s.over(client, "POST", "/predict", guideRequest); got != c.infer {
				t.Errorf("certificate %s: /predict %d, want %d", c.name, got, c.infer)
			}
		}
		if got := s.over(client, "GET", "/metrics", ""); got != c.metrics {
			t.Errorf("certificate %s: /metrics %d, want %d", c.name, got, c.metrics)
		}
		if got := s.over(client, "POST", "/admin/reload", ""); got != c.reload {
			t.Errorf("certificate %s: /admin/reload %d, want %d", c.name, got, c.reload)
		}
		// A key that is shown besides is taken too, and a wrong one harms nothing.
		if got := s.over(client, "GET", "/metadata", "", "X-API-Key", "a-key"); got != 200 {
			t.Errorf("certificate %s, with a key: %d", c.name, got)
		}
		if got := s.over(client, "GET", "/metadata", "", "X-API-Key", "wrong"); got != c.infer {
			t.Errorf("certificate %s, with a wrong key: %d, want %d", c.name, got, c.infer)
		}
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	for _, want := range []string{`"key":"robot"`, `"key":"ops"`, `"act":"reload"`} {
		if !strings.Contains(out.b.String(), want) {
			t.Errorf("no line has %s: %s", want, &out.b)
		}
	}
}

// TestCertificatesMayBeTakenAway while the connection is open, and given back.
func TestCertificatesMayBeTakenAway(t *testing.T) {
	a := newAuthority(t)
	robot := certified("robot", "robot", server.ScopeInfer)
	keys := keysOf(t, robot, infer("k"))
	s := serveClients(t, a, server.Options{Limits: fast(), Keys: keys})
	c := a.client(s.addr, x509.Certificate{Subject: pkix.Name{CommonName: "robot"}})
	f := func(want int) {
		t.Helper()
		if got := s.over(c, "POST", "/predict", guideRequest); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	f(200)
	if err := keys.Replace(infer("k")); err != nil {
		t.Fatal(err)
	}
	f(401)
	if err := keys.Replace(infer("k"), robot); err != nil {
		t.Fatal(err)
	}
	f(200)
	for _, bad := range [][]server.Key{{robot, robot}, {certified("", "a", server.ScopeInfer)}, {{Name: "both", Certificate: "a", Hash: infer("k").Hash, Scopes: server.ScopeInfer}}} {
		if err := keys.Replace(bad...); err == nil {
			t.Errorf("Replace(%+v) is taken", bad)
		}
	}
	f(200)
}
