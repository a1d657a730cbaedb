package serving

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// ErrToken says that a token does not open here and now. It comes as a
// *TokenError.
var ErrToken = errors.New("the state is no token that opens here")

// TokenError says why a token was refused.
type TokenError struct {
	// Reason is "malformed", "size", "unauthentic", "expired", "model",
	// "version" or "rows".
	Reason  string
	Message string
}

func (e *TokenError) Error() string { return e.Message }

// Unwrap returns ErrToken.
func (e *TokenError) Unwrap() error { return ErrToken }

// A token is, in base64url without padding:
//
//	version 1 byte · nonce 24 bytes · sealed text · tag 16 bytes
//
// where the text, sealed by XAES-256-GCM with the version as additional data,
// is in little-endian order:
//
//	issued   uint64, milliseconds since 1970
//	model    uint16 length, bytes
//	digest   uint16 length, bytes
//	rows     uint32
//	seed, step, row  uint64 each, of the next request
//	parts    uint16, and the width of each part of the state, uint32
//	actions  uint32, values of an action where there are histories, or 0
//	state    float32, rows × width of each part
//	histories  of each row: 1 byte whether there is one, last and before, float32
const (
	tokenVersion  = 1
	tokenOverhead = 1 + xaesNonce + 16
	tokenKeyInfo  = "carla-rl session token 1"
)

type tokenKey struct{ xaes }

// tokenKeys derives the keys of tokens from secrets. The first one seals.
func tokenKeys(first []byte, others [][]byte) []tokenKey {
	if len(first) == 0 {
		first = make([]byte, 32)
		_, _ = rand.Read(first) // It never fails.
	}
	var keys []tokenKey
	for _, secret := range append([][]byte{first}, others...) {
		key, err := hkdf.Key(sha256.New, secret, nil, tokenKeyInfo, 32)
		if err != nil {
			panic("serving: " + err.Error()) // The size asked for is too large.
		}
		keys = append(keys, tokenKey{newXAES(key)})
	}
	return keys
}

// tokenText is the size of a token's text.
func tokenText(model, digest string, c *policy.Contract, rows int) int {
	n := 8 + 2 + len(model) + 2 + len(digest) + 4 + 3*8 + 2 + 4*len(c.State) + 4
	for i := range c.State {
		n += 4 * rows * c.State[i].Width
	}
	if width := historyWidth(c); width > 0 {
		n += rows * (1 + 2*4*width)
	}
	return n
}

// CheckToken tells whether the state of so many rows fits into a token: a
// *TokenError says that it does not.
func (ss *Sessions) CheckToken(v SessionVersion, rows int) error {
	if n := base64.RawURLEncoding.EncodedLen(tokenOverhead + tokenText(v.Model, v.Digest, v.Contract, rows)); n > ss.o.MaxTokenBytes {
		return ss.refuse("size", "the state of %d rows would be a token of %d bytes, which may have %d: send fewer rows", rows, n, ss.o.MaxTokenBytes)
	}
	return nil
}

// Seal returns the state and the histories of an answered request as a token,
// with the keys of the draws of the step that follows. Whoever has it can give
// it back and cannot read or change it.
func (ss *Sessions) Seal(v SessionVersion, req *Request) []byte {
	c := v.Contract
	text := make([]byte, 0, tokenText(v.Model, v.Digest, c, req.Rows))
	le := binary.LittleEndian
	text = le.AppendUint64(text, uint64(ss.o.Now().UnixMilli()))
	text = append(le.AppendUint16(text, uint16(len(v.Model))), v.Model...)
	text = append(le.AppendUint16(text, uint16(len(v.Digest))), v.Digest...)
	text = le.AppendUint32(text, uint32(req.Rows))
	text = le.AppendUint64(text, req.Seed)
	text = le.AppendUint64(text, req.Step+1)
	text = le.AppendUint64(text, req.Row)
	text = le.AppendUint16(text, uint16(len(c.State)))
	for i := range c.State {
		text = le.AppendUint32(text, uint32(c.State[i].Width))
	}
	width := historyWidth(c)
	text = le.AppendUint32(text, uint32(width))
	for i := range c.State {
		text = appendFloats(text, req.State[i][:req.Rows*c.State[i].Width])
	}
	if width > 0 {
		for _, h := range req.Histories {
			last, before, begun := h.Actions()
			text = append(text, 0)
			if begun {
				text[len(text)-1] = 1
			}
			text = appendFloats(appendFloats(text, last), before)
		}
	}

	token := make([]byte, 1+xaesNonce, tokenOverhead+len(text))
	token[0] = tokenVersion
	_, _ = rand.Read(token[1:]) // It never fails.
	token = ss.keys[0].seal(token, token[1:], text, token[:1])
	return base64.RawURLEncoding.AppendEncode(nil, token)
}

// Unseal gives a request the state, the histories, the seed, the step and the
// row of a token, which must be of the request's model, of a version with the
// same digest and of as many rows. A *TokenError says that it is not, and then
// the request is as it was.
func (ss *Sessions) Unseal(token []byte, v SessionVersion, req *Request) error {
	_, err := ss.unseal(token, v, req, false)
	return err
}

// Resume is Unseal for a version whose contract says what becomes of an episode
// when the version changes: by "reset" the state of another version is not
// refused but begins anew, as Request.Begin has it, and reset is true. Seed,
// step and row go on.
func (ss *Sessions) Resume(token []byte, v SessionVersion, req *Request) (reset bool, err error) {
	return ss.unseal(token, v, req, v.Contract.ResetsOnVersionChange())
}

func (ss *Sessions) unseal(token []byte, v SessionVersion, req *Request, mayReset bool) (reset bool, err error) {
	text, err := ss.open(token)
	if err != nil {
		return false, err
	}
	d := tokenReader{b: text}
	issued := time.UnixMilli(int64(d.uint64()))
	model, digest := d.text(), d.text()
	rows := int(d.uint32())
	seed, step, row := d.uint64(), d.uint64(), d.uint64()
	switch age := ss.o.Now().Sub(issued); {
	case d.short:
		return false, ss.refuse("malformed", "the state is a token of another form")
	case model != v.Model:
		return false, ss.refuse("model", "the state is of model %s, the request is of model %s", model, v.Model)
	case rows != req.Rows:
		return false, ss.refuse("rows", "the state is of %d rows, the request has %d", rows, req.Rows)
	case age > ss.o.TokenTTL:
		return false, ss.refuse("expired", "the state is %v old, and may be used for %v: begin again with null", age.Truncate(time.Second), ss.o.TokenTTL)
	case digest != v.Digest && !mayReset:
		return false, ss.refuse("version", "the state is of another version of model %s than %s, which answers: begin again with null", v.Model, v.Version)
	case digest != v.Digest:
		req.Begin(v.Contract)
		req.Seed, req.Step, req.Row = seed, step, row
		return true, nil
	}
	c := v.Contract
	same := int(d.uint16()) == len(c.State)
	for i := 0; same && i < len(c.State); i++ {
		same = int(d.uint32()) == c.State[i].Width
	}
	width := historyWidth(c)
	same = same && int(d.uint32()) == width
	if !same || len(text) != tokenText(model, digest, c, rows) {
		// The same bytes were read in another way, by another release.
		return false, ss.refuse("version", "the state is of another form than that of model %s %s: begin again with null", v.Model, v.Version)
	}
	req.reserve(c)
	for i := range req.State {
		d.floats(req.State[i])
	}
	last, before := make([]float32, width), make([]float32, width)
	for _, h := range req.Histories {
		begun := d.byte() == 1
		d.floats(last)
		d.floats(before)
		if h.Reset(); begun {
			h.Restore(last, before)
		}
	}
	req.Seed, req.Step, req.Row = seed, step, row
	return false, nil
}

// open returns the text of a token that was sealed here, or by another process
// with one of the keys.
func (ss *Sessions) open(token []byte) ([]byte, error) {
	if len(token) > ss.o.MaxTokenBytes {
		return nil, ss.refuse("size", "the state has %d bytes, a token has up to %d", len(token), ss.o.MaxTokenBytes)
	}
	// Strict, and without the line breaks that the decoder skips: a state has
	// one spelling.
	b, err := base64.RawURLEncoding.Strict().AppendDecode(nil, token)
	if err != nil || bytes.ContainsAny(token, "\r\n") || len(b) < tokenOverhead || b[0] != tokenVersion {
		return nil, ss.refuse("malformed", "the state is no token of this server: send the state of the answer before as it is, or null to begin")
	}
	for i := range ss.keys {
		if text, err := ss.keys[i].open(nil, b[1:1+xaesNonce], b[1+xaesNonce:], b[:1]); err == nil {
			return text, nil
		}
	}
	return nil, ss.refuse("unauthentic", "the state was not sealed by this server, or was changed: servers that share clients need the same sessions.token_key")
}

func (ss *Sessions) refuse(reason, format string, args ...any) error {
	ss.o.TokenRefused(reason)
	return &TokenError{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func appendFloats(b []byte, x []float32) []byte {
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// tokenReader reads the text of a token. What is not there reads as zeros, and
// is remembered.
type tokenReader struct {
	b     []byte
	short bool
}

func (d *tokenReader) take(n int) []byte {
	if len(d.b) < n {
		d.b, d.short = nil, true
		return make([]byte, n)
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *tokenReader) byte() byte     { return d.take(1)[0] }
func (d *tokenReader) uint16() uint16 { return binary.LittleEndian.Uint16(d.take(2)) }
func (d *tokenReader) uint32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *tokenReader) uint64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }
func (d *tokenReader) text() string   { return string(d.take(int(d.uint16()))) }

func (d *tokenReader) floats(x []float32) {
	b := d.take(4 * len(x))
	for i := range x {
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
}
