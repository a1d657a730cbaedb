package serving

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// TestXAES holds the cipher to the vectors of its specification.
func TestXAES(t *testing.T) {
	f := func(key byte, also, want string) {
		t.Helper()
		x := newXAES(bytes.Repeat([]byte{key}, 32))
		nonce, text := []byte("ABCDEFGHIJKLMNOPQRSTUVWX"), []byte("XAES-256-GCM")
		sealed := x.seal(nil, nonce, text, []byte(also))
		if got := hex.EncodeToString(sealed); got != want {
			t.Errorf("key %d: %s, the specification has %s", key, got, want)
		}
		if opened, err := x.open(nil, nonce, sealed, []byte(also)); err != nil || !bytes.Equal(opened, text) {
			t.Errorf("key %d: opened %q, %v", key, opened, err)
		}
		if _, err := x.open(nil, nonce, sealed, []byte("other")); err == nil {
			t.Errorf("key %d: opened with other additional data", key)
		}
	}
	f(1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271")
	f(3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d")
}
