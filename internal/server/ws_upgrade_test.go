package server_test

import (
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// TestUpgradeIsRefused sends upgrades that are none, or from where none may
// come.
func TestUpgradeIsRefused(t *testing.T) {
	keys, err := server.NewKeys(server.PlainKey("secret", server.ScopeInfer))
	if err != nil {
		t.Fatal(err)
	}
	metrics := &countingMetrics{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{
		Limits: fast(), Keys: keys, AllowedHosts: []string{"robot.example"}, CORSOrigins: []string{"https://pages.example", "*"}, Metrics: metrics,
	})
	strict := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), CORSOrigins: []string{"https://pages.example"}})
	good := []string{"Host", "robot.example", "X-API-Key", "secret"}
	for _, path := range []string{"/v1/stream", "/"} {
		f := func(s *site, status int, code string, headers ...string) {
			t.Helper()
			_, r := s.handshake(path, append(append([]string{}, good...), headers...)...)
			if r.status != status || status != 101 && r.code(t) != code {
				t.Errorf("%s %v: %d %s", path, headers, r.status, r.body)
			}
		}
		f(s, 101, "")
		f(s, 401, "UNAUTHORIZED", "X-API-Key", "wrong")
		f(s, 401, "UNAUTHORIZED", "X-API-Key", "")
		f(s, 101, "", "X-API-Key", "", "Authorization", "Api-Key secret")
		f(s, 101, "", "X-API-Key", "", "Authorization", "Bearer secret")
		f(s, 421, "HOST_NOT_ALLOWED", "Host", "evil.example")
		f(s, 403, "ORIGIN_NOT_ALLOWED", "Origin", "null")
		f(s, 101, "", "Origin", "https://anything.example")
		f(strict, 101, "", "Origin", "https://pages.example")
		f(strict, 101, "", "Origin", "http://robot.example")
		f(strict, 403, "ORIGIN_NOT_ALLOWED", "Origin", "https://anything.example")
		f(strict, 403, "ORIGIN_NOT_ALLOWED", "Origin", "null")
		f(s, 426, "UPGRADE_REQUIRED", "Sec-WebSocket-Version", "8")
		f(s, 426, "UPGRADE_REQUIRED", "Sec-WebSocket-Version", "")
		f(s, 400, "BAD_HANDSHAKE", "Connection", "keep-alive")
		f(s, 400, "BAD_HANDSHAKE", "Sec-WebSocket-Key", "short")
		f(s, 400, "BAD_HANDSHAKE", "Sec-WebSocket-Key", "")
		f(s, 400, "BAD_HANDSHAKE", "Sec-WebSocket-Key", strings.Repeat("A", 22)+"B=") // bits behind the last byte
		f(s, 101, "", "Connection", "keep-alive, Upgrade", "Upgrade", "foo, WebSocket")
	}
	if r := s.do("GET", "/v1/stream", "", good...); r.status != 426 || r.header.Get("Upgrade") != "websocket" {
		t.Errorf("no upgrade: %d %v", r.status, r.header)
	}
	if metrics.get("rejected handshake") == 0 || metrics.get("rejected origin") == 0 {
		t.Errorf("%v", metrics.seen)
	}
}

// TestUpgradeAcceptsTheKey is the example of RFC 6455, 1.3.
func TestUpgradeAcceptsTheKey(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	_, r := s.handshake("/v1/stream", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	if got := r.header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || r.header.Get("Sec-WebSocket-Extensions") != "" {
		t.Errorf("accept %q, %v", got, r.header)
	}
}

// TestEarlyBytes sends something behind an upgrade that is not answered yet:
// frames, a request of HTTP, and what is neither.
func TestEarlyBytes(t *testing.T) {
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	upgrade := "GET /v1/stream HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	for name, early := range map[string]string{
		"a frame": "\x81\x82\x00\x00\x00\x00{}", "half a frame": "\x81", "a request": "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
		"half a request": "GET /li", "a line": "\r\n",
	} {
		answers, closed := s.raw(upgrade + early)
		if !closed || len(answers) == 0 || answers[0].status != 400 || answers[0].code(t) != "BAD_REQUEST" {
			t.Errorf("%s: %+v, closed %v", name, answers, closed)
		}
	}
	if n := s.StreamCount(); n != 0 {
		t.Errorf("%d streams are open", n)
	}
}
