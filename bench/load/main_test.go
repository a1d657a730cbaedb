package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.Header.Get("Content-Type") == "application/json" {
			_, _ = w.Write([]byte(`{"actions":[]}`))
			return
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	defer s.Close()
	body := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(body, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run([]string{"-body", body, "-want", `{"act`, "-duration", "30ms", "-rate", "500", "-wait", "-json", s.URL + "/x"}, &out); err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatal(err)
	}
	// On a machine that is busy not all are sent before the time is over.
	if r.Planned != 15 || r.Sent == 0 || r.Good != r.Sent || r.Status[200].Count != r.Good || r.Latency.Max <= 0 {
		t.Errorf("%+v", r)
	}
	out.Reset()
	if err := run([]string{"-duration", "20ms", s.URL}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "status 418: ") {
		t.Errorf("%s", out.String())
	}
	for _, args := range [][]string{{}, {"https://example.com"}, {"-body", "nowhere", s.URL}, {"-connections", "0", s.URL}} {
		if err := run(args, &out); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
