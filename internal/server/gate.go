package server

import (
	"bytes"
	"encoding/binary"
)

// gate follows the framing of the messages on one connection, ahead of the
// HTTP parser, and stops at the first that two parsers could read differently.
// It holds the strict part of RFC 9112: each line ends in CRLF and holds
// neither another CR or LF nor a NUL, names are tokens with no blank before the colon, there is no
// obs-fold, the target has one of three forms, there is one Content-Length of
// digits only, and no Transfer-Encoding at all. Chunked bodies are therefore
// never parsed here.
//
// A gate sees bytes in whatever portions the connection brings them.
type gate struct {
	maxBytes  int // of one header
	maxFields int
	maxBody   int64
	// claim asks for the memory of a large body; nil has it always.
	claim func(n int64) bool

	body     int64  // bytes of the current body still to come
	partial  []byte // the beginning of a line whose end has not come
	bytes    int    // of the current header so far
	fields   int    // of the current header so far
	inHeader bool   // the request line has been seen
	http10   bool
	messages uint64 // whose header is complete

	length   int64 // Content-Length, -1 without one
	encoding bool  // there is a Transfer-Encoding
	expect   bool  // Expect: 100-continue
}

// scan follows p, the next bytes of the connection. It returns how many of
// them belong to messages that are well-formed so far; less than len(p) only
// with a fault, which is where the connection ends.
func (g *gate) scan(p []byte) (safe int, f *fault) {
	start := 0 // of the current message, as far as it is in p
	for i := 0; i < len(p); {
		if g.body > 0 {
			n := min(g.body, int64(len(p)-i))
			g.body -= n
			i += int(n)
			start = i
			continue
		}
		n, ended, f := g.header(p[i:], nil)
		if f != nil {
			return start, f
		}
		i += n
		if ended && g.body == 0 {
			start = i
		}
	}
	return len(p), nil
}

// header follows p, which is of a header, to the end of the header or of p. It
// notes in h what it sees of one that begins with p; h may be nil.
func (g *gate) header(p []byte, h *head) (n int, ended bool, f *fault) {
	for i := 0; i < len(p); {
		n := bytes.IndexByte(p[i:], '\n')
		if n < 0 {
			g.bytes += len(p) - i
			if g.bytes > g.maxBytes {
				return i, false, faultHeaders
			}
			g.partial = append(g.partial, p[i:]...)
			break
		}
		line := p[i : i+n+1]
		i += n + 1
		g.bytes += len(line)
		if g.bytes > g.maxBytes {
			return i, false, faultHeaders
		}
		if len(g.partial) > 0 {
			line = append(g.partial, line...)
			g.partial = line[:0]
		}
		ended, f := g.line(line, h)
		if f != nil || ended {
			return i, ended, f
		}
	}
	return len(p), false, nil
}

// begun reports whether a message is under way.
func (g *gate) begun() bool { return g.bytes > 0 || g.body > 0 }

// line takes one line with its end. It reports whether the line ends the
// header.
func (g *gate) line(line []byte, h *head) (ended bool, f *fault) {
	n := len(line) - 2
	if n < 0 || line[n] != '\r' {
		return false, faultFraming // a bare LF
	}
	line = line[:n]
	switch {
	case !g.inHeader:
		g.inHeader, g.length = true, -1
		return false, g.requestLine(line, h)
	case n == 0:
		f = g.endHeader()
		return f == nil, f
	}
	if g.fields++; g.fields > g.maxFields {
		return false, faultHeaderTooMany
	}
	return false, g.field(line, h)
}

// requestLine checks "METHOD target HTTP/1.x".
func (g *gate) requestLine(line []byte, h *head) *fault {
	method := 0
	for method < len(line) && tokenByte[line[method]] {
		method++
	}
	if method == 0 || method == len(line) || line[method] != ' ' {
		return faultFraming
	}
	rest := line[method+1:]
	end := 0
	for end < len(rest) && targetByte[rest[end]] {
		end++
	}
	if end == 0 || end == len(rest) || rest[end] != ' ' {
		return faultFraming
	}
	if !targetForm(line[:method], rest[:end]) {
		return faultFraming
	}
	switch version := rest[end+1:]; {
	case string(version) == "HTTP/1.1":
		g.http10 = false
	case string(version) == "HTTP/1.0":
		g.http10 = true
	case len(version) == 8 && string(version[:5]) == "HTTP/" && digit(version[5]) && version[6] == '.' && digit(version[7]):
		return faultHTTPVersion
	default:
		return faultFraming
	}
	if h != nil {
		h.begin(line[:method], rest[:end], g.http10)
	}
	return nil
}

// targetForm reports whether the target has the origin form, the absolute form
// of http, or is the asterisk of OPTIONS.
func targetForm(method, target []byte) bool {
	switch {
	case target[0] == '/':
		return true
	case len(target) == 1 && target[0] == '*':
		return string(method) == "OPTIONS"
	}
	_, ok := absoluteAuthority(target)
	return ok
}

// absoluteAuthority returns the host and port of a target in absolute form.
func absoluteAuthority(target []byte) ([]byte, bool) {
	var rest []byte
	switch {
	case len(target) > 7 && foldEqual(target[:7], "http://"):
		rest = target[7:]
	case len(target) > 8 && foldEqual(target[:8], "https://"):
		rest = target[8:]
	default:
		return nil, false
	}
	if i := bytes.IndexAny(rest, "/?"); i >= 0 {
		rest = rest[:i]
	}
	return rest, len(rest) > 0 && bytes.IndexByte(rest, '@') < 0
}

// field checks one header field and keeps what frames the message.
func (g *gate) field(line []byte, h *head) *fault {
	colon := 0
	for colon < len(line) && tokenByte[line[colon]] {
		colon++
	}
	// A blank at the start is obs-fold, one before the colon a second name.
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return faultFraming
	}
	if value := line[colon+1:]; unusual(value) {
		if bytes.IndexByte(value, '\r') >= 0 || bytes.IndexByte(value, 0) >= 0 {
			return faultFraming
		}
		if h != nil {
			h.plain = false
		}
	}
	if h != nil {
		h.field(line[:colon], line[colon+1:])
	}
	switch name := line[:colon]; colon {
	case len("Expect"):
		if foldEqual(name, "expect") {
			if !foldEqual(trimBlanks(line[colon+1:]), "100-continue") {
				return faultExpectation
			}
			g.expect = true
		}
	case len("Content-Length"):
		if foldEqual(name, "content-length") {
			n, ok := parseLength(trimBlanks(line[colon+1:]))
			if !ok || g.length >= 0 {
				return faultFraming
			}
			g.length = n
		}
	case len("Transfer-Encoding"):
		if foldEqual(name, "transfer-encoding") {
			if g.encoding {
				return faultFraming
			}
			g.encoding = true
		}
	}
	return nil
}

// endHeader decides about the message once its header is complete, and makes
// the gate ready for the body or the next message.
func (g *gate) endHeader() *fault {
	switch {
	case g.encoding && (g.length >= 0 || g.http10):
		return faultFraming
	case g.encoding:
		return faultLength
	case g.expect && g.length > g.maxBody:
		return faultTooLarge // without being asked to send it
	case g.claim != nil && g.length > smallBody && g.length <= g.maxBody && !g.claim(g.length):
		return faultMemory
	}
	g.messages++
	g.body = max(0, g.length)
	g.bytes, g.fields, g.inHeader = 0, 0, false
	g.length, g.encoding, g.expect = -1, false, false
	return nil
}

// smallBody is the size of bodies that are not counted: what a connection has
// a buffer for anyhow.
const smallBody = 32 << 10

// maxLengthDigits keeps a Content-Length within an int64.
const maxLengthDigits = 18

func parseLength(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > maxLengthDigits {
		return 0, false
	}
	var n int64
	for _, c := range v {
		if !digit(c) {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// trimBlanks is bytes.Trim(b, " \t"), which costs more than what it is used
// on.
func trimBlanks(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// unusual reports whether b holds a byte that is no printable ASCII.
func unusual(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; len(b) >= 8; b = b[8:] {
		w := binary.LittleEndian.Uint64(b)
		low := (w - ' '*ones) & ^w & highs
		del := w ^ 0x7f*ones
		if low|(del-ones)&^del&highs|w&highs != 0 {
			return true
		}
	}
	for _, c := range b {
		if c < ' ' || c >= 0x7f {
			return true
		}
	}
	return false
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// foldEqual compares b with lower, which is lower case ASCII.
func foldEqual(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		c := b[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// tokenByte are the bytes of a token (RFC 9110, 5.6.2); targetByte those of a
// request target: printable ASCII without a blank and without a fragment.
var tokenByte, targetByte [256]bool

func init() {
	for c := byte('!'); c < 0x7f; c++ {
		targetByte[c] = c != '#'
		tokenByte[c] = bytes.IndexByte([]byte(`"(),/:;<=>?@[\]{}`), c) < 0
	}
}
