package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// TestLargeBodiesShareMemory holds that the bodies that are being read share a
// budget: one that does not fit is refused before it is read, and what ended
// or was broken off makes room.
func TestLargeBodiesShareMemory(t *testing.T) {
	limits := fast()
	limits.MaxBodyBytes, limits.MaxBufferBytes = 1<<20, 1<<20
	counted := &countingMetrics{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits, Metrics: counted})
	body := guideRequest + strings.Repeat(" ", 900_000-len(guideRequest))
	head := fmt.Sprintf("POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))

	holder, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	// It is answered, stays open, and then claims a second body.
	io.WriteString(holder, head+body)
	r := newReader(holder)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("first: %v %v", resp, err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an idle connection that sent a large body holds no room", func() bool { return s.do("POST", "/predict", body).status == 200 })
	io.WriteString(holder, strings.Replace(head, "Host: a", "Host: a\r\nExpect: 100-continue", 1))
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 100 {
		t.Fatalf("second: %v %v", resp, err)
	}
	answers, closed := s.raw(head)
	if len(answers) != 1 || answers[0].status != 503 || answers[0].code(t) != "TOO_MANY_LARGE_BODIES" || !closed {
		t.Errorf("a second body: %+v, closed %v", answers, closed)
	}
	if r := s.do("POST", "/predict", guideRequest); r.status != 200 {
		t.Errorf("a small body beside it: %d", r.status)
	}
	holder.Close()
	eventually(t, "the body that was broken off made room", func() bool { return s.do("POST", "/predict", body).status == 200 })
	if counted.get("rejected body_memory") == 0 {
		t.Error("not counted")
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// TestClientThatNeverReads holds that a client that sends and never reads is
// cut off: an answer that cannot be written ends its connection.
func TestClientThatNeverReads(t *testing.T) {
	limits := fast()
	limits.WriteTimeout = 200 * time.Millisecond
	counted := &countingMetrics{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits, Metrics: counted})
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	page := strings.Repeat("GET /docs/docs.js HTTP/1.1\r\nHost: a\r\n\r\n", 100)
	for {
		if _, err := io.WriteString(c, page); err != nil {
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				t.Error("the connection was not ended")
			}
			break
		}
	}
	eventually(t, "the connection is closed", func() bool { return counted.open() == 0 })
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestListeners holds that the server serves over TLS and over a Unix socket
// as it does over TCP, the gate among it.
func TestListeners(t *testing.T) {
	s, err := server.New(&fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	if err != nil {
		t.Fatal(err)
	}
	cert := selfSigned(t)
	roots := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(leaf)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	unix, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, ln := range []net.Listener{tls.NewListener(plain, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}), unix} {
		wg.Go(func() {
			if err := s.Serve(ln); err != nil {
				t.Errorf("serve: %v", err)
			}
		})
	}
	dialers := map[string]func() (net.Conn, error){
		"tls":  func() (net.Conn, error) { return tls.Dial("tcp", plain.Addr().String(), &tls.Config{RootCAs: roots}) },
		"unix": func() (net.Conn, error) { return net.Dial("unix", socket) },
	}
	for name, dial := range dialers {
		c, err := dial()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /livez HTTP/1.1\nHost: a\r\n\r\n")
		answers, closed := readAnswers(t, c, time.Minute)
		if len(answers) != 2 || answers[0].status != 200 || answers[1].status != 400 || !closed {
			t.Errorf("%s: %+v, closed %v", name, answers, closed)
		}
		c.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// TestLogs holds what the log says of requests, and that it holds no key and
// nothing of a body.
func TestLogs(t *testing.T) {
	var mu sync.Mutex
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(lockedWriter{&mu, &out}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	keys, err := server.NewKeys(server.PlainKey("very-secret-key", server.ScopeInfer))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Keys: keys, Logger: log, AccessLog: true})
	s.do("POST", "/predict", guideRequest, "X-API-Key", "very-secret-key", "X-Request-ID", "first")
	s.do("POST", "/predict", `{"observations":"private"}`, "Authorization", "Bearer very-secret-key")
	s.do("POST", "/predict", guideRequest, "X-API-Key", "wrong-secret-key")
	s.raw("GET /private-path HTTP/1.1\r\nHost: a\r\nX-API-Key: very-secret-key\r\nBad Name: private\r\n\r\n")
	mu.Lock()
	defer mu.Unlock()
	text := out.String()
	for _, want := range []string{
		`"event_type":"http_request","method":"POST","endpoint":"/predict","status":200,"duration_ms":`, `"request_id":"first"`,
		`"status":422`, `"error":"VALIDATION_ERROR"`, `"error":"UNAUTHORIZED"`, `"error":"BAD_REQUEST"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the log does not hold %s", want)
		}
	}
	for _, secret := range []string{"secret-key", "private"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds %q:\n%s", secret, text)
		}
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
