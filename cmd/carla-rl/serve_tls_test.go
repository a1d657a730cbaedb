package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// authority signs certificates of 127.0.0.1, for servers and clients.
type authority struct {
	t      *testing.T
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.serial++
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(a.serial), time.Now().Add(-time.Hour), time.Now().Add(time.Duration(a.serial)*time.Hour)
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

// leaf signs a certificate and returns it and its key in PEM.
func (a *authority) leaf() (cert, key []byte) {
	a.t.Helper()
	c, k := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "leaf"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// put replaces a file in one step.
func put(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// secured is a server with certificates in files.
type secured struct {
	cfg   *config.Config
	certs *certificates
	addr  string
	dir   string
}

func (s *secured) url() string { return "https://" + s.addr }

func serveSecured(t *testing.T, a *authority, change func(*config.Config)) *secured {
	t.Helper()
	s := &secured{cfg: config.Default(), dir: t.TempDir()}
	s.cfg.Server.TLSCertFile, s.cfg.Server.TLSKeyFile = filepath.Join(s.dir, "cert"), filepath.Join(s.dir, "key")
	cert, key := a.leaf()
	put(t, s.cfg.Server.TLSCertFile, cert)
	put(t, s.cfg.Server.TLSKeyFile, key)
	if change != nil {
		change(s.cfg)
	}
	var err error
	if s.certs, err = openCertificates(s.cfg); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }), ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(s.certs.secure(ln)) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return s
}

// ask makes one request on a connection of its own and returns the serial
// number of the server's certificate.
func (s *secured) ask(t *testing.T, c *tls.Config) (serial int64, err error) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url(), nil)
	if err != nil {
		return 0, err
	}
	res, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err != nil {
		return 0, err
	}
	return res.TLS.PeerCertificates[0].SerialNumber.Int64(), nil
}

// TestCertificatesRotateUnderLoad: a hundred times, without a failed request,
// and each new connection gets the certificate that is in force.
func TestCertificatesRotateUnderLoad(t *testing.T) {
	a := newAuthority(t)
	s := serveSecured(t, a, nil)
	client := func() *tls.Config { return &tls.Config{RootCAs: a.pool()} }
	var stop atomic.Bool
	var asked atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				if _, err := s.ask(t, client()); err != nil {
					t.Errorf("request %d: %v", asked.Load(), err)
					return
				}
				asked.Add(1)
			}
		})
	}
	for i := range 100 {
		cert, key := a.leaf()
		put(t, s.cfg.Server.TLSCertFile, cert)
		if err := s.certs.load(s.cfg); err == nil {
			t.Error("a certificate is taken with the key of another")
		}
		put(t, s.cfg.Server.TLSKeyFile, key)
		if err := s.certs.load(s.cfg); err != nil {
			t.Fatal(err)
		}
		if serial, err := s.ask(t, client()); err != nil || serial != a.serial {
			t.Errorf("rotation %d: certificate %d, %v, want %d", i, serial, err, a.serial)
		}
	}
	stop.Store(true)
	wg.Wait()
	if asked.Load() == 0 {
		t.Error("nothing was asked meanwhile")
	}
	if left := time.Until(s.certs.expiry()); left < time.Duration(a.serial-1)*time.Hour {
		t.Errorf("the certificate in force is said to end in %v", left)
	}
}

func TestTLSVersions(t *testing.T) {
	a := newAuthority(t)
	f := func(least string, version uint16, ok bool) {
		t.Helper()
		s := serveSecured(t, a, func(c *config.Config) { c.Server.TLSMinVersion = least })
		_, err := s.ask(t, &tls.Config{RootCAs: a.pool(), MinVersion: version, MaxVersion: version}) //nolint:gosec // that is what is refused
		if (err == nil) != ok {
			t.Errorf("least %s, client %#x: %v", least, version, err)
		}
	}
	for _, least := range []string{"1.2", "1.3"} {
		f(least, tls.VersionTLS10, false)
		f(least, tls.VersionTLS11, false)
		f(least, tls.VersionTLS12, least == "1.2")
		f(least, tls.VersionTLS13, true)
	}
}

// TestClientCertificates holds clients to the authority, also when it changes.
func TestClientCertificates(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	ca := filepath.Join(t.TempDir(), "ca")
	put(t, ca, a.pem())
	s := serveSecured(t, a, func(c *config.Config) { c.Server.TLSClientCAFile = ca })
	f := func(by *authority, ok bool) {
		t.Helper()
		c := &tls.Config{RootCAs: a.pool()}
		if by != nil {
			pair, err := tls.X509KeyPair(by.leaf())
			if err != nil {
				t.Fatal(err)
			}
			// A client shows what it has whatever the server asks for.
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		if _, err := s.ask(t, c); (err == nil) != ok {
			t.Errorf("certificate of %p: %v", by, err)
		}
	}
	f(nil, false)
	f(a, true)
	f(other, false)
	put(t, ca, other.pem())
	if err := s.certs.load(s.cfg); err != nil {
		t.Fatal(err)
	}
	f(a, false)
	f(other, true)
	put(t, ca, []byte("nothing"))
	if err := s.certs.load(s.cfg); err == nil {
		t.Error("a file without a certificate is taken")
	}
	f(other, true)
	f(nil, false)
}

// TestWatchTakesWhatChanges and keeps what was there when that is no good.
func TestWatchTakesWhatChanges(t *testing.T) {
	a := newAuthority(t)
	s := serveSecured(t, a, nil)
	ctx, cancel := context.WithCancel(t.Context())
	metrics := telemetry.NewMetrics(telemetry.MetricsOptions{})
	loads := make(chan error, 100)
	w := s.certs.files(s.cfg)
	load := w.load
	w.load = func() (string, error) { note, err := load(); loads <- err; return note, err }
	done := watch(ctx, time.Millisecond, metrics, slog.New(slog.DiscardHandler), w)
	first := a.serial
	put(t, s.cfg.Server.TLSKeyFile, []byte("broken"))
	if err := <-loads; err == nil {
		t.Error("a broken key is taken")
	}
	if serial, err := s.ask(t, &tls.Config{RootCAs: a.pool()}); err != nil || serial != first {
		t.Errorf("beside a broken key: certificate %d, %v, want %d", serial, err, first)
	}
	cert, key := a.leaf()
	put(t, s.cfg.Server.TLSCertFile, cert)
	put(t, s.cfg.Server.TLSKeyFile, key)
	for err := range loads {
		if err == nil {
			break
		}
	}
	if serial, err := s.ask(t, &tls.Config{RootCAs: a.pool()}); err != nil || serial != a.serial {
		t.Errorf("certificate %d, %v, want %d", serial, err, a.serial)
	}
	cancel()
	<-done
}
