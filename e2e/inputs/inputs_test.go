package inputs_test

import (
	"bytes"
	"testing"

	"github.com/carla-rl/carla-rl-serving/e2e/inputs"
)

// TestSource makes the same inputs of the same seed, within their limit, and
// hardly any twice.
func TestSource(t *testing.T) {
	corpus := [][]byte{[]byte(`{"a":[1,2,3]}`), []byte("GET / HTTP/1.1\r\n\r\n"), {}}
	one, two := inputs.New(7, corpus, 200, "token"), inputs.New(7, corpus, 200, "token")
	seen, token := map[string]bool{}, 0
	for range 10_000 {
		b := one.Next()
		if len(b) > 200 {
			t.Fatalf("%d bytes", len(b))
		}
		if !bytes.Equal(b, two.Next()) {
			t.Fatal("the same seed made another input")
		}
		if bytes.Contains(b, []byte("token")) {
			token++
		}
		seen[string(b)] = true
	}
	if len(seen) < 5000 || token == 0 {
		t.Errorf("%d of 10000 inputs differ, %d have the token", len(seen), token)
	}
	if string(corpus[0]) != `{"a":[1,2,3]}` {
		t.Errorf("the corpus became %q", corpus[0])
	}
}
