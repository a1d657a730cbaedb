package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// Keys are the API keys that a server takes. Only their hashes are held, and
// they may be replaced while the server runs.
type Keys struct {
	hashes atomic.Pointer[[][sha256.Size]byte]
}

// NewKeys returns a set of keys. Blanks around a key are no part of it.
func NewKeys(keys ...string) (*Keys, error) {
	k := &Keys{}
	return k, k.Replace(keys...)
}

// Replace makes keys the ones that are taken from now on.
func (k *Keys) Replace(keys ...string) error {
	hashes := make([][sha256.Size]byte, 0, len(keys))
	for _, key := range keys {
		if key = strings.TrimSpace(key); key == "" {
			return errors.New("an API key is empty")
		}
		hashes = append(hashes, sha256.Sum256([]byte(key)))
	}
	if len(hashes) == 0 {
		return errors.New("there is no API key")
	}
	k.hashes.Store(&hashes)
	return nil
}

// match compares what a client sent with every key. The time it takes tells
// nothing about the keys: what is compared are hashes, all of them, in
// constant time.
func (k *Keys) match(sent []byte) bool {
	h := sha256.Sum256(sent)
	ok := 0
	for _, known := range *k.hashes.Load() {
		ok |= subtle.ConstantTimeCompare(h[:], known[:])
	}
	return ok == 1
}

// admits is admit of keys that there may be none of.
func (k *Keys) admits(h *fasthttp.RequestHeader) bool { return k != nil && k.admit(h) }

// identify names the key that a request carries for the record of what was done
// with it: by the beginning of its SHA-256, which tells keys apart and cannot be
// turned back into one. It is "" where the request carries none of these keys.
func (k *Keys) identify(h *fasthttp.RequestHeader) string {
	sent := h.PeekCanonical(peekAPIKey)
	if len(sent) == 0 || !k.match(sent) {
		_, key, _ := bytes.Cut(h.PeekCanonical(peekAuthorization), []byte(" "))
		if sent = trimBlanks(key); len(sent) == 0 || !k.match(sent) {
			return ""
		}
	}
	sum := sha256.Sum256(sent)
	return "sha256:" + hex.EncodeToString(sum[:4])
}

var (
	peekAPIKey        = []byte("X-Api-Key")
	peekAuthorization = []byte("Authorization")
)

// admit reports whether the request carries a key, as X-API-Key or as
// Authorization with the scheme Bearer or Api-Key.
func (k *Keys) admit(h *fasthttp.RequestHeader) bool {
	if key := h.PeekCanonical(peekAPIKey); len(key) > 0 && k.match(key) {
		return true
	}
	scheme, key, ok := bytes.Cut(h.PeekCanonical(peekAuthorization), []byte(" "))
	if !ok || !foldEqual(scheme, "bearer") && !foldEqual(scheme, "api-key") {
		return false
	}
	return k.match(trimBlanks(key))
}
