package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Scope is what a key is good for; scopes add up.
type Scope uint8

// The scopes. ScopeAdmin has the others in it.
const (
	ScopeInfer   Scope = 1 << iota // every route but those of the others
	ScopeMetrics                   // /metrics, where it asks for a key
	ScopeAdmin                     // what changes that which is served

	scopeAll = ScopeInfer | ScopeMetrics | ScopeAdmin
)

// Key is one API key, without its text; or the certificates of one name, which
// stand for a key (certificate.go).
type Key struct {
	Name   string            // for logs; says nothing of the text
	Hash   [sha256.Size]byte // of the text
	Scopes Scope
	Limit  Rate // the zero Rate is that of the options
	// Certificate is a name in certificates of clients. A key has it or a Hash.
	Certificate string
	Expires     time.Time // the zero time is never
}

// PlainKey returns the key of a text that a configuration holds, without the
// blanks around it. It is named after the beginning of its hash, which tells keys apart
// and cannot be turned back into one. NewKeys refuses that of an empty text.
func PlainKey(text string, scopes Scope) Key {
	if text = strings.TrimSpace(text); text == "" {
		return Key{}
	}
	h := sha256.Sum256([]byte(text))
	return Key{Name: "sha256:" + hex.EncodeToString(h[:4]), Hash: h, Scopes: scopes}
}

// MaxKeys is how many keys a server takes: each request is compared with all
// of them.
const MaxKeys = 1000

// Keys are the API keys that a server takes. Only their hashes are held, and
// they may be replaced while the server runs.
type Keys struct {
	table atomic.Pointer[keyTable]
	mu    sync.Mutex // of Replace
}

// keyTable is never changed once it is in Keys.
type keyTable struct {
	keys   []*knownKey          // of texts
	certs  map[string]*knownKey // of certificates, by their name
	scopes Scope                // that a key has
	// metrics says that /metrics asks for a key, and goes on to ask for one
	// when the last such key was taken away.
	metrics bool
}

// knownKey is a key as the server knows it. It stays the same in the next
// table where nothing of it changed.
type knownKey struct {
	Key
	pace   pace
	bucket bucket
}

// NewKeys returns a set of keys.
func NewKeys(keys ...Key) (*Keys, error) {
	k := &Keys{}
	return k, k.Replace(keys...)
}

// Replace makes keys the ones that are taken from now on. A key that stays
// goes on with what it had of its rate. On an error nothing changes.
func (k *Keys) Replace(keys ...Key) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.table.Load()
	t := &keyTable{keys: make([]*knownKey, 0, len(keys))}
	switch {
	case len(keys) == 0:
		return errors.New("there is no API key")
	case len(keys) > MaxKeys:
		return fmt.Errorf("there are %d API keys, at most %d are taken", len(keys), MaxKeys)
	}
	for _, key := range keys {
		switch {
		case key.Name == "" || (key.Hash == [sha256.Size]byte{}) == (key.Certificate == ""):
			return errors.New("an API key is empty, or is a text and a certificate")
		case key.Scopes == 0 || key.Scopes&^scopeAll != 0:
			return fmt.Errorf("key %s: no scope, or one that there is not", key.Name)
		case t.same(&key) != nil:
			return fmt.Errorf("key %s: there is another of the same text or certificate", key.Name)
		}
		t.metrics = t.metrics || key.Scopes&ScopeMetrics != 0
		if key.Scopes&ScopeAdmin != 0 {
			key.Scopes = scopeAll
		}
		known := &knownKey{Key: key, pace: key.Limit.pace()}
		if before != nil {
			if old := before.same(&key); old != nil && old.Key == key {
				known = old
			}
		}
		if key.Certificate == "" {
			t.keys = append(t.keys, known)
		} else {
			if t.certs == nil {
				t.certs = map[string]*knownKey{}
			}
			t.certs[key.Certificate] = known
		}
		t.scopes |= key.Scopes
	}
	t.metrics = t.metrics || before != nil && before.metrics
	k.table.Store(t)
	return nil
}

// same returns the key of the same text or certificate as one that is in the
// server already, not one that a client sent.
func (t *keyTable) same(k *Key) *knownKey {
	if k.Certificate != "" {
		return t.certs[k.Certificate]
	}
	for _, key := range t.keys {
		if key.Hash == k.Hash {
			return key
		}
	}
	return nil
}

// match compares what a client sent with every key and returns the one that it
// is, nil where it is none or has expired. The time it takes tells nothing about the
// keys: what is compared are hashes, all of them, in constant time.
func (k *Keys) match(sent []byte, now time.Time) *knownKey {
	h := sha256.Sum256(sent)
	keys := k.table.Load().keys
	found := -1
	for i, known := range keys {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(h[:], known.Hash[:]), i, found)
	}
	if found < 0 || keys[found].expired(now) {
		return nil
	}
	return keys[found]
}

func (k *knownKey) expired(now time.Time) bool { return !k.Expires.IsZero() && !now.Before(k.Expires) }

// again returns what has become of a key that was taken before: the key of the
// same text or certificate, or nil where that is not taken any more.
func (k *Keys) again(key *knownKey, want Scope, now time.Time) *knownKey {
	key = k.table.Load().same(&key.Key)
	if key == nil || key.expired(now) || key.Scopes&want == 0 {
		return nil
	}
	return key
}

// has reports whether there is a key of a scope. There may be no keys at all.
func (k *Keys) has(scope Scope) bool { return k != nil && k.table.Load().scopes&scope != 0 }

// asksForMetrics reports whether /metrics asks for a key: it does once a key
// was given that scope by its name.
func (k *Keys) asksForMetrics() bool { return k != nil && k.table.Load().metrics }

// Guard holds a handler of metrics to the keys, as the route /metrics is. There may
// be no keys at all.
func (k *Keys) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if k.asksForMetrics() {
			c := credentials{apiKey: []byte(r.Header.Get("X-API-Key")), authorization: []byte(r.Header.Get("Authorization"))}
			if key, ok := k.admit(c, ScopeMetrics, time.Now()); !ok {
				f := faultUnauthorized
				if key != nil {
					f = faultForbidden
				} else {
					w.Header().Set("WWW-Authenticate", "Bearer")
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(f.status)
				_, _ = w.Write(appendError(nil, f, f.message, nil, requestID(nil, nil), time.Now()))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// credentials are the header fields in which a request may carry a key, and the
// names in the certificate of its connection.
type credentials struct {
	apiKey, authorization []byte
	certificate           []string
}

var (
	peekAPIKey        = []byte("X-Api-Key")
	peekAuthorization = []byte("Authorization")
)

// admit looks for a key of a scope in X-API-Key, in Authorization with the
// scheme Bearer or Api-Key, and by the certificate. Where it is not ok the key is
// one without that scope, or nil.
func (k *Keys) admit(c credentials, want Scope, now time.Time) (key *knownKey, ok bool) {
	if len(c.apiKey) > 0 {
		if key = k.match(c.apiKey, now); key != nil && key.Scopes&want != 0 {
			return key, true
		}
	}
	scheme, sent, ok := bytes.Cut(c.authorization, []byte(" "))
	if ok && (foldEqual(scheme, "bearer") || foldEqual(scheme, "api-key")) {
		if second := k.match(trimBlanks(sent), now); second != nil {
			if key = second; key.Scopes&want != 0 {
				return key, true
			}
		}
	}
	if len(c.certificate) > 0 {
		if third := k.certified(c.certificate, now); third != nil {
			return third, third.Scopes&want != 0
		}
	}
	return key, false
}

// credentials returns those of the request, which came over a connection.
func (x *exchange) credentials(c *gatedConn) (found credentials) {
	if x.ctx == nil {
		found = credentials{apiKey: x.hot.head.apiKey, authorization: x.hot.head.authorization}
	} else {
		h := &x.ctx.Request.Header
		found = credentials{apiKey: h.PeekCanonical(peekAPIKey), authorization: h.PeekCanonical(peekAuthorization)}
	}
	if c != nil && c.tls != nil && x.s.o.Keys.haveCertificates() {
		found.certificate = c.certified(x.start)
	}
	return found
}

// authorize holds the request to the keys: 401 without one, 403 with one that
// is good for something else.
func (x *exchange) authorize(c *gatedConn, want Scope) error {
	key, ok := x.s.o.Keys.admit(x.credentials(c), want, x.start)
	x.key = key
	switch {
	case ok:
		return nil
	case key != nil:
		return faultForbidden
	}
	x.set(fasthttp.HeaderWWWAuthenticate, "Bearer")
	return faultUnauthorized
}

// admitInfer is authorize for the routes that everybody may use where only
// admins have keys, and throttle.
func (x *exchange) admitInfer(c *gatedConn) error {
	var err error
	if s := x.s; s.o.Keys != nil && !s.o.Keyless {
		err = x.authorize(c, ScopeInfer)
	}
	return x.throttle(c, err)
}

// admit tells why the request may not go on to the endpoint, if it may not.
func (x *exchange) admit(e *endpoint) error {
	s := x.s
	c, _ := x.ctx.Conn().(*gatedConn)
	switch {
	case e.admin:
		switch {
		case !s.o.Keys.has(ScopeAdmin):
			return faultAdminOff
		case s.o.AdminApart && !x.ofAdmins():
			return explain(faultAdminOff, "the routes of admins are answered at an address of their own: that of server.admin_listen")
		}
		return x.throttle(c, x.authorize(c, ScopeAdmin))
	case e.metrics && s.o.Keys.asksForMetrics():
		return x.throttle(c, x.authorize(c, ScopeMetrics))
	case e.open:
		return nil
	case e.page:
		return x.throttle(c, nil)
	}
	return x.admitInfer(c)
}
