//go:build e2e

package attack_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// TestSecretsStaySecret (S5) sends keys, right and wrong ones, everywhere that a
// request has room for them, and makes the server fail in every way that a client
// can: no answer, metric or line of the log has a key, a path of the machine, an
// address of memory or a trace. Names are another matter: whoever asks for a model
// of some name is told that there is none of that name.
func TestSecretsStaySecret(t *testing.T) {
	ledger.Begin(t)
	dir := t.TempDir()
	name, err := program()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "keys")
	draw := func(who, scope string) string {
		t.Helper()
		out, err := exec.Command(name, "key", "new", "--name", who, "--scope", scope, "--append", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	const single, wrong, token = "the-single-key-of-a-variable", "a-wrong-key-that-is-a-password", "a-token-key-of-forty-characters-or-more!"
	keys := []string{draw("robot", "infer"), draw("ops", "admin"), draw("prometheus", "metrics"), single, wrong, token}
	// An artifact below a folder whose name must not be told.
	root := filepath.Join(dir, "folder-of-the-operator")
	if err := os.MkdirAll(filepath.Join(root, "v0.1.0"), 0o750); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"model_card.yaml": "model_name: m\nversion: v0.1.0\nmodel_type: pytorch\nmodel_filename: model.pt\n", "model.pt": "PK\x03\x04 broken"} {
		if err := os.WriteFile(filepath.Join(root, "v0.1.0", file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex // guards what follows
	answers, sent := 0, 0
	// What is told to clients has no path either; the log is the operator's.
	check := func(where, text string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		answers++
		for _, found := range leaks(text, append(keys, dir, root, "folder-of-the-operator/", "/root/", "/home/")...) {
			t.Errorf("%s: %s", where, found)
		}
	}
	for _, c := range []struct {
		env    []string
		stream int // status of an upgrade
	}{{nil, http.StatusSwitchingProtocols}, {[]string{"ARTIFACT_DIR=" + root}, http.StatusServiceUnavailable}} {
		p := serve(t, append(c.env, "CARLA_RL_KEYS_FILE="+file, "API_KEY="+single, "CARLA_RL_SESSION_TOKEN_KEY="+token, "ACCESS_LOG=1", "LOG_LEVEL=debug", "ENABLE_TRACING=0")...)
		p.secrets = append(p.secrets, keys...)
		for _, key := range append(keys, base64.StdEncoding.EncodeToString([]byte(single))) {
			q := url.QueryEscape(key)
			body := `{"observations":[{"speed":"` + key + `","sensors":["` + key + `"]}],"seed":"` + key + `","deterministic":"` + key + `"}`
			var list [][]byte
			for _, path := range []string{"/predict", "/v1/sessions", "/v1/sessions/" + q + "/act", "/v2/models/carla-ppo/infer", "/admin/reload", "/admin/rollback", "/" + q, "/warmup?key=" + q} {
				for _, header := range [][]string{{}, {"X-API-Key", key}, {"Authorization", "Bearer " + key}, {"Authorization", "Basic " + key}, {"X-API-Key", keys[1], "Content-Type", "application/" + key}, {"X-API-Key", keys[1], "X-Request-ID", "a b" + key}, {"X-API-Key", keys[1], "Cookie", key, "User-Agent", key, "Referer", key, "Traceparent", key}} {
					list = append(list, p.request("POST", path, body, header...), p.request("GET", path, "", header...))
				}
			}
			for _, header := range [][]string{{"Origin", "https://" + key}, {"Host", key}, {"Upgrade", key, "Connection", "Upgrade"}, {"Expect", key}, {"Content-Encoding", key}} {
				list = append(list, p.request("GET", "/metadata", "", append(header, "X-API-Key", keys[1])...))
			}
			list = append(list, []byte(key+"\r\n\r\n"), []byte("GET /"+key+" HTTP/1.1\nX: "+key+"\r\n\r\n"))
			for _, message := range list {
				sent++
				// One answer each: the connection is closed behind it.
				message = []byte(strings.Replace(string(message), "\r\n", "\r\nConnection: close\r\n", 1))
				got, _ := p.answers(message, 10*time.Second)
				for _, a := range got {
					// An id that fits is given back as it came: it is the client's own.
					delete(a.header, "X-Request-Id")
					check(fmt.Sprintf("%d to %.60q", a.status, message), fmt.Sprint(a.header, a.body))
				}
			}
		}
		var wg sync.WaitGroup
		for _, key := range keys {
			wg.Go(func() {
				n := p.abuse(key, keys[0], c.stream, check)
				mu.Lock()
				defer mu.Unlock()
				sent += n
			})
		}
		wg.Wait()
		for _, path := range []string{"/healthz", "/readyz", "/versions", "/metadata", "/openapi.json", "/metrics", "/docs", "/v1/models", "/v2"} {
			got, _ := p.answers(p.request("GET", path, "", "X-API-Key", keys[1], "Connection", "close"), 10*time.Second)
			if len(got) != 1 || got[0].status >= 500 && got[0].status != 503 {
				t.Errorf("GET %s: %.300v", path, got)
				continue
			}
			check("GET "+path, got[0].body)
		}
	}
	if answers < 500 {
		t.Errorf("only %d answers were looked at", answers)
	}
	ledger.Add(t, ledger.Row{
		ID: "S5", Test: "keys and paths in answers, metrics and logs", Inputs: ledger.N(sent, "requests and streams that carry keys everywhere, well-formed and not"), Lost: ledger.Nothing,
		Figures: []string{fmt.Sprintf("%s answers and the logs at level debug: 0 keys, paths, addresses, traces", ledger.Thousands(int64(answers)))},
	})
}

// abuse does with a key what the other tests here do without one: it hides requests in
// requests, is too long, too slow, gone too soon, and breaks streams, whose upgrade
// is answered with a status. It returns how many were sent, once all that was
// answered is checked.
func (p *process) abuse(key, allowed string, stream int, check func(where, text string)) int {
	head := "POST /predict HTTP/1.1\r\nHost: " + p.addr + "\r\nConnection: close\r\nX-API-Key: " + key + "\r\nContent-Type: application/json\r\n"
	forms := p.smuggling("X-API-Key: " + key + "\r\n")
	for name, form := range forms {
		forms[name] = form + "GET /" + key + " HTTP/1.1\r\nHost: " + key + "\r\n\r\n"
	}
	forms["a long header"] = head + "X: " + strings.Repeat(key, 2000) + "\r\n\r\n"
	forms["a long target"] = "GET /" + strings.Repeat(key, 2000) + " HTTP/1.1\r\n\r\n"
	forms["many fields"] = head + strings.Repeat("X: "+key+"\r\n", 200) + "\r\n"
	forms["half a header"] = head + "Authorization: Bearer " + key
	forms["half a body"] = head + "Content-Length: 1000\r\n\r\n{\"" + key
	forms["no gzip"] = head + fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(key), key)
	forms["lists in lists"] = head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", 1000+len(key), strings.Repeat("[", 1000)+key)
	forms["a stream with a key in its query"] = string(p.upgrading("/v1/stream?key="+url.QueryEscape(key), "Authorization", "Bearer "+allowed))
	var wg sync.WaitGroup
	var count atomic.Int64
	for name, form := range forms {
		wg.Go(func() {
			got, closed := p.answers([]byte(form), 10*time.Second)
			if closed || len(got) > 0 {
				count.Add(1)
			}
			for _, a := range got {
				delete(a.header, "X-Request-Id")
				check(name, fmt.Sprint(a.header, a.body))
			}
			c, err := p.dial() // and once more, gone before the answer
			if err != nil {
				p.t.Errorf("%s: %v", name, err)
				return
			}
			if n, _ := c.Write([]byte(form)); n > 0 { // all of it or not: the server may refuse it first
				count.Add(1)
			}
			_ = c.Close()
		})
	}
	frames := map[string][]byte{
		"a text of a key":       frame(0x81, []byte(key)),
		"members of a key":      frame(0x81, []byte(`{"observation":{"speed":"`+key+`"},"seq":"`+key+`"}`)),
		"MessagePack of a key":  frame(0x82, append([]byte{0xd9, byte(len(key))}, key...)),
		"no UTF-8":              frame(0x81, []byte(key+"\xff")),
		"no mask":               append([]byte{0x81, byte(len(key))}, key...),
		"reserved bits":         frame(0xf1, []byte(key)),
		"a close with a reason": frame(0x88, append([]byte{3, 232}, key...)),
		"half a message":        frame(0x81, []byte(key))[:20],
	}
	for name, sent := range frames {
		wg.Go(func() {
			c, err := p.dial()
			if err != nil {
				p.t.Errorf("%s: %v", name, err)
				return
			}
			defer c.Close()
			status, err := p.handshake(c, "/v1/stream", "Authorization", "Bearer "+allowed, "Sec-WebSocket-Protocol", key)
			if err != nil || status != stream {
				p.t.Errorf("%s: an upgrade is answered with %d, %v, want %d", name, status, err, stream)
				return
			}
			count.Add(1)
			if status != http.StatusSwitchingProtocols {
				return
			}
			if _, err := c.Write(sent); err != nil {
				p.t.Errorf("%s: %v", name, err)
				return
			}
			_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
			if text, _ := io.ReadAll(c); len(text) > 0 {
				check(name, string(text))
			}
		})
	}
	wg.Wait()
	return int(count.Load())
}

// TestLeaksAreSeen (S5) holds what every test here looks through the log of its
// server for.
func TestLeaksAreSeen(t *testing.T) {
	for text, want := range map[string]int{
		`{"msg":"request","key":"robot"}`: 0, "goroutine 7 [running]:": 1, "server.go:12": 1, "0xc000123456": 1, "a-secret": 1, "Traceback (most recent call last)": 1,
	} {
		if got := leaks(text, "a-secret"); len(got) != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
