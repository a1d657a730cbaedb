package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestRemoteKeepsItsKey holds that a server which sends the client elsewhere does
// not have the key sent there, and that its answer is told.
func TestRemoteKeepsItsKey(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s came with the key %q", r.Method, r.URL, r.Header.Get("X-API-Key"))
	}))
	defer other.Close()
	asked := ""
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("X-API-Key")
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}))
	defer first.Close()
	c := &remote{URL: first.URL, Timeout: time.Minute}
	_, err := c.ask(http.MethodPost, "/admin/reload", "the key", &modelBody{})
	if err == nil || !strings.Contains(err.Error(), "answered 307 Temporary Redirect to POST /admin/reload") {
		t.Errorf("got %v", err)
	}
	if asked != "the key" {
		t.Errorf("the server that was named got %q", asked)
	}
}
