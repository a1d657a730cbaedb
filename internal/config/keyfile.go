package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Scopes are what a key may be good for.
var Scopes = []string{"infer", "metrics", "admin"}

// MaxKeys is how many keys a configuration may have: each request is compared
// with all of them.
const MaxKeys = 1000

// Key is one API key, by the hash of its text.
type Key struct {
	Name    string
	Hash    [sha256.Size]byte
	Scopes  []string
	Rate    Rate      // the zero Rate is security.rate_limit
	Expires time.Time // the zero time is never
	// Certificate is a name in the certificates of the clients that the key
	// stands for, in place of a text: such a key has no Hash.
	Certificate string
	Plain       string // the text, of a key that is not in security.keys_file
}

// hashPrefix begins a hash in a line, and certPrefix a name of certificates.
const (
	hashPrefix = "sha256:"
	certPrefix = "cert:"
)

// maxCertName is the longest name of a certificate that is looked for.
const maxCertName = 256

// HashKey returns the hash of the text of a key, as lines hold it. There is no
// salt and no work in it: a key is drawn, and too long to be tried out.
func HashKey(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }

// String is the line of a key in security.keys_file: its name, its hash, its
// scopes, and rate= and expires= where they are set. A key that certificates
// stand for has their name in place of the hash.
func (k Key) String() string {
	what := hashPrefix + hex.EncodeToString(k.Hash[:])
	if k.Certificate != "" {
		what = certPrefix + k.Certificate
	}
	line := k.Name + " " + what + " " + strings.Join(k.Scopes, ",")
	if k.Rate != (Rate{}) {
		line += " rate=" + k.Rate.String()
	}
	if !k.Expires.IsZero() {
		line += " expires=" + k.Expires.UTC().Format(time.RFC3339)
	}
	return line
}

// ParseKey reads a line of security.keys_file.
func ParseKey(line string) (Key, error) {
	fields := strings.Fields(line)
	if len(fields) < 3 {
		return Key{}, errors.New("want a name, sha256:HASH or cert:NAME, and scopes, with blanks between them")
	}
	k := Key{Name: fields[0]}
	if err := KeyName(k.Name); err != nil {
		return Key{}, err
	}
	err := k.parseWhat(fields[1])
	if err != nil {
		return Key{}, err
	}
	if k.Scopes, err = ParseScopes(fields[2]); err != nil {
		return Key{}, fmt.Errorf("key %s: %w", k.Name, err)
	}
	for _, f := range fields[3:] {
		name, value, _ := strings.Cut(f, "=")
		switch {
		case name == "rate" && k.Rate == Rate{}:
			k.Rate, err = ParseRate(value)
		case name == "expires" && k.Expires.IsZero():
			k.Expires, err = ParseExpiry(value)
		default:
			err = fmt.Errorf("want rate=1000/min or expires=2030-01-31 behind the scopes, each at most once, got %s", quote(f))
		}
		if err != nil {
			return Key{}, fmt.Errorf("key %s: %w", k.Name, err)
		}
	}
	return k, nil
}

// parseWhat reads what a client has to show: a hash of it, or the name in its
// certificate.
func (k *Key) parseWhat(field string) error {
	if name, ok := strings.CutPrefix(field, certPrefix); ok {
		if name == "" || len(name) > maxCertName || headerText(name) != nil {
			return fmt.Errorf("key %s: want cert: and a name of a certificate, of 1 to %d characters of printable ASCII", k.Name, maxCertName)
		}
		k.Certificate = name
		return nil
	}
	digits, ok := strings.CutPrefix(field, hashPrefix)
	hash, err := hex.DecodeString(digits)
	if !ok || err != nil || len(hash) != sha256.Size {
		// What stands there may be the key itself: it is not shown.
		return fmt.Errorf("key %s: want sha256: and 64 hexadecimal digits behind the name, or cert: and the name of a certificate; carla-rl key new makes the line", k.Name)
	}
	k.Hash = [sha256.Size]byte(hash)
	return nil
}

// KeyName checks the name of a key, which stands in logs.
func KeyName(name string) error {
	for i, c := range name {
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if i >= 64 || !alphanumeric && (i == 0 || c != '.' && c != '_' && c != '-') {
			return errors.New("want a name of at most 64 letters, digits, dots, hyphens and underscores, which begins with a letter or digit")
		}
	}
	if name == "" {
		return errors.New("want a name")
	}
	return nil
}

// ParseScopes reads a list of scopes with commas between them.
func ParseScopes(list string) ([]string, error) {
	var scopes []string
	for s := range strings.SplitSeq(list, ",") {
		if !slices.Contains(Scopes, s) || slices.Contains(scopes, s) {
			return nil, fmt.Errorf("want scopes out of %s, each once, with commas between them, got %s", strings.Join(Scopes, ", "), quote(list))
		}
		scopes = append(scopes, s)
	}
	return scopes, nil
}

// ParseExpiry reads a time of RFC 3339, or a date, which is its beginning in UTC.
func ParseExpiry(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("want a date such as 2030-01-31 or a time such as 2030-01-31T12:00:00Z, got %s", quote(s))
}

// ParseKeys reads what security.keys_file holds: a key on each line, and lines
// that are empty or begin with #.
func ParseKeys(data string) ([]Key, error) {
	var keys []Key
	number := 0
	for line := range strings.Lines(data) {
		number++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		k, err := ParseKey(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		for _, other := range keys {
			if other.Name == k.Name {
				return nil, fmt.Errorf("line %d: there is another key %s", number, k.Name)
			}
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("holds no key")
	}
	return keys, nil
}

// Keys returns all keys of the configuration, of which those of files are read
// anew: security.keys_file, those of APIKeys, which are good for inference, and
// those of AdminKeys. One that is among both of the latter is an admin's.
func (c *Config) Keys() ([]Key, error) {
	var keys []Key
	if name := c.Security.KeysFile; name != "" {
		data, err := readFile(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, reason(err))
		}
		if keys, err = ParseKeys(string(data)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, k := range keys {
			if k.Certificate != "" && c.Server.TLSClientCAFile == "" {
				return nil, fmt.Errorf("%s: key %s: without server.tls_client_ca_file no client is asked for a certificate", name, k.Name)
			}
		}
	}
	add := func(list []string, scope string) error {
		for _, text := range list {
			hash := HashKey(text)
			switch i := slices.IndexFunc(keys, func(k Key) bool { return k.Hash == hash }); {
			case i < 0:
				keys = append(keys, Key{Name: hashPrefix + hex.EncodeToString(hash[:4]), Hash: hash, Scopes: []string{scope}, Plain: text})
			case keys[i].Plain == "":
				return fmt.Errorf("key %s of security.keys_file is set in another setting too", keys[i].Name)
			}
		}
		return nil
	}
	admins, err := c.AdminKeys()
	if err == nil {
		err = add(admins, "admin")
	}
	if err != nil {
		return nil, err
	}
	infer, err := c.APIKeys()
	if err == nil {
		err = add(infer, "infer")
	}
	if err != nil {
		return nil, err
	}
	for i, k := range keys {
		if slices.IndexFunc(keys[:i], func(other Key) bool { return other.Hash == k.Hash && other.Certificate == k.Certificate }) >= 0 {
			return nil, fmt.Errorf("key %s: there is another of the same text or certificate", k.Name)
		}
	}
	if len(keys) > MaxKeys {
		return nil, fmt.Errorf("there are %d keys, at most %d are taken", len(keys), MaxKeys)
	}
	return keys, nil
}
