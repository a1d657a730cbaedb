package server_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// smuggled is a request that must not be answered when it stands behind a
// message that two parsers could read differently.
const smuggled = "GET /versions HTTP/1.1\r\nHost: smuggled\r\nConnection: close\r\n\r\n"

// TestSmuggling (H3) sends messages whose framing is in doubt over a real
// connection: each is answered once, with the envelope, and the connection
// ends there, so that what follows is never a request.
func TestSmuggling(t *testing.T) {
	counted := &countingMetrics{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Metrics: counted})
	f := func(name, message string, status int, code string) {
		t.Helper()
		answers, closed := s.raw(message + smuggled)
		if len(answers) != 1 || !closed {
			t.Errorf("%s: %d answers, closed %v: %+v", name, len(answers), closed, answers)
			return
		}
		r := answers[0]
		if r.status != status || r.code(t) != code || !r.close || r.header.Get("X-Request-ID") == "" || r.header.Get("X-Process-Time") == "" {
			t.Errorf("%s: %d %v %s", name, r.status, r.header, r.body)
		}
	}
	post := "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
	f("CL and TE", post+"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "BAD_REQUEST")
	f("TE and CL", post+"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400, "BAD_REQUEST")
	f("TE", post+"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411, "LENGTH_REQUIRED")
	f("TE with a chunk extension", post+"Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nX\r\n0\r\n\r\n", 411, "LENGTH_REQUIRED")
	f("TE with a bad chunk", post+"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 411, "LENGTH_REQUIRED")
	f("TE folded", post+"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400, "BAD_REQUEST")
	f("TE with a blank name", post+"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, "BAD_REQUEST")
	f("TE xchunked", post+"Transfer-Encoding: xchunked\r\n\r\n", 411, "LENGTH_REQUIRED")
	f("two CL", post+"Content-Length: 0\r\nContent-Length: 5\r\n\r\n", 400, "BAD_REQUEST")
	f("CL sign", post+"Content-Length: +0\r\n\r\n", 400, "BAD_REQUEST")
	f("obs-fold", "GET /livez HTTP/1.1\r\nHost: a\r\nX: 1\r\n  y\r\n\r\n", 400, "BAD_REQUEST")
	f("bare LF in the request line", "GET /livez HTTP/1.1\nHost: a\r\n\r\n", 400, "BAD_REQUEST")
	f("bare LF in a field", "GET /livez HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", 400, "BAD_REQUEST")
	f("bare LF throughout", "GET /livez HTTP/1.1\nHost: a\n\n", 400, "BAD_REQUEST")
	f("bare CR", "GET /livez HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n", 400, "BAD_REQUEST")
	f("NUL in a value", "GET /livez HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", 400, "BAD_REQUEST")
	f("no host", "GET /livez HTTP/1.1\r\n\r\n", 400, "BAD_REQUEST")
	f("two hosts", "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "BAD_REQUEST")
	f("expectation", post+"Content-Length: 2\r\nExpect: something\r\n\r\n{}", 417, "EXPECTATION_FAILED")
	f("HTTP/3", "GET /livez HTTP/3.0\r\nHost: a\r\n\r\n", 505, "HTTP_VERSION_NOT_SUPPORTED")
	f("TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400, "BAD_REQUEST")
	f("header of 40 kB", "GET /livez HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("a", 40<<10)+"\r\n\r\n", 431, "HEADERS_TOO_LARGE")
	f("5000 fields", "GET /livez HTTP/1.1\r\nHost: a\r\n"+strings.Repeat("X: 1\r\n", 5000)+"\r\n", 431, "HEADERS_TOO_LARGE")
	for _, reason := range []string{"framing", "transfer_encoding", "header_size", "header_fields"} {
		if counted.get("rejected "+reason) == 0 {
			t.Errorf("no rejection for the reason %s was counted", reason)
		}
	}
	if counted.get("OTHER other 400") == 0 || counted.get("GET other 400") != 0 {
		t.Errorf("messages that were not read are counted as %v", counted.seen)
	}
	if counted.get("GET /versions 200") != 0 {
		t.Error("a smuggled request was answered")
	}
}

// TestSmugglingAfterGood sends a good request and a bad one in one write: the
// first is answered as ever, the second refused.
func TestSmugglingAfterGood(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	goodOne := "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
	answers, closed := s.raw(goodOne + goodOne + "GET /livez HTTP/1.1\nHost: a\r\n\r\n" + smuggled)
	if len(answers) != 3 || !closed || answers[0].status != 200 || answers[1].status != 200 || answers[2].status != 400 {
		t.Errorf("closed %v, answers %+v", closed, answers)
	}
}

// TestAbsoluteForm holds that a request has one host.
func TestAbsoluteForm(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), AllowedHosts: []string{"a.example"}})
	f := func(target, host string, status int) {
		t.Helper()
		answers, _ := s.raw("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
		if len(answers) != 1 || answers[0].status != status {
			t.Errorf("%s, Host %s: %+v, want %d", target, host, answers, status)
		}
	}
	f("http://a.example/metadata", "a.example", 200)
	f("http://A.example/metadata?x", "a.example", 200)
	f("http://a.example", "a.example", 307)
	f("http://evil/metadata", "a.example", 400)
	f("http://a.example/metadata", "evil", 400)
	f("http://evil/metadata", "evil", 421)
}

// TestExpectContinue (H6) holds that a client that asks is told to go on, and one
// whose body would be too large is not.
func TestExpectContinue(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n", len(guideRequest))
	const proceed = "HTTP/1.1 100 Continue\r\n\r\n"
	buf := make([]byte, len(proceed))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != proceed {
		t.Fatalf("%q, %v", buf, err)
	}
	fmt.Fprint(c, guideRequest)
	if answers, _ := readAnswers(t, c, time.Minute); len(answers) != 1 || answers[0].status != 200 {
		t.Errorf("%+v", answers)
	}
	answers, closed := s.raw("POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
	if len(answers) != 1 || answers[0].status != 413 || !closed {
		t.Errorf("a body that is too large: %+v, closed %v", answers, closed)
	}
}

// TestBodyLimit (H6) holds that a body just within the limit is read and one just
// beyond it is answered 413, also to a client that sends all of it first.
func TestBodyLimit(t *testing.T) {
	limits := fast()
	limits.MaxBodyBytes = 1 << 20
	counted := &countingMetrics{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits, Metrics: counted})
	body := guideRequest + strings.Repeat(" ", 1<<20-len(guideRequest))
	if r := s.do("POST", "/predict", body); r.status != 200 {
		t.Errorf("at the limit: %d %s", r.status, r.body)
	}
	answers, _ := s.raw(fmt.Sprintf("POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s ", len(body)+1, body))
	if len(answers) != 1 || answers[0].status != 413 || answers[0].code(t) != "PAYLOAD_TOO_LARGE" {
		t.Errorf("beyond the limit: %+v", answers)
	}
	if counted.get("rejected body_size") != 1 || counted.get("POST /predict 413") != 1 {
		t.Errorf("counted: %v", counted.seen)
	}
}

// TestSlowClients (H4) holds that a client that stops sending is cut off with 408.
func TestSlowClients(t *testing.T) {
	limits := fast()
	limits.HeaderTimeout, limits.BodyTimeout = 200*time.Millisecond, 400*time.Millisecond
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits})
	f := func(name, message string) {
		t.Helper()
		if answers, closed := s.raw(message); len(answers) != 1 || answers[0].status != 408 || !closed {
			t.Errorf("%s: %+v, closed %v", name, answers, closed)
		}
	}
	f("request line", "GET /li")
	f("header", "GET /livez HTTP/1.1\r\nHost: a\r\nX:")
	f("body", "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
	f("large body", "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{")
}

// TestIdle holds that an idle connection is closed without a word.
func TestIdle(t *testing.T) {
	limits := fast()
	limits.IdleTimeout = 500 * time.Millisecond
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits})
	answers, closed := s.raw("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
	if len(answers) != 1 || answers[0].status != 200 || !closed {
		t.Errorf("%+v, closed %v", answers, closed)
	}
}

// TestConnectionLimits holds that connections beyond the limits are refused
// with an answer, and that one that ends makes room.
func TestConnectionLimits(t *testing.T) {
	f := func(limits server.Limits, status int, reason string) {
		t.Helper()
		counted := &countingMetrics{}
		s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: limits, Metrics: counted})
		var open []net.Conn
		for range 3 {
			c, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			open = append(open, c)
		}
		answers, closed := readAnswers(t, open[2], time.Minute)
		if len(answers) != 1 || answers[0].status != status || answers[0].code(t) != "TOO_MANY_CONNECTIONS" || !closed || answers[0].header.Get("Retry-After") != "1" {
			t.Errorf("third connection: %+v, closed %v", answers, closed)
		}
		if counted.get("rejected "+reason) != 1 || counted.open() != 2 {
			t.Errorf("counted %v, open %d", counted.seen, counted.open())
		}
		open[0].Close()
		for deadline := time.Now().Add(time.Minute); counted.open() > 1; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a connection that ended is still counted")
			}
		}
		if answers, _ := s.raw("GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); len(answers) != 1 || answers[0].status != 200 {
			t.Errorf("after one ended: %+v", answers)
		}
	}
	all, perIP := fast(), fast()
	all.MaxConns, perIP.MaxConnsPerIP = 2, 2
	f(all, 503, "connections")
	f(perIP, 429, "connections_per_ip")
}
