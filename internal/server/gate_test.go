package server

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

func newGate() *gate { return &gate{maxBytes: 1024, maxFields: 10, maxBody: 100, length: -1} }

// feed gives the gate a text in portions of n bytes and returns how much of it
// was passed, and the fault.
func feed(text string, n int) (passed int, f *fault) {
	g := newGate()
	for p := []byte(text); len(p) > 0; {
		k := min(n, len(p))
		safe, f := g.scan(p[:k])
		passed += safe
		if f != nil {
			return passed, f
		}
		p = p[k:]
	}
	return passed, nil
}

// good are messages that the gate passes.
var good = []string{
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /a?b=c&d=%20 HTTP/1.0\r\n\r\n",
	"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
	"POST /predict HTTP/1.1\r\nHost: a\r\ncontent-LENGTH:\t5 \r\n\r\n\n\r\n\n\n",
	"POST /predict HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
	"GET http://a.example:8080/x HTTP/1.1\r\nHost: a.example:8080\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n",
}

// bad are messages that the gate stops, each with its fault.
var bad = []struct {
	name, text string
	fault      *fault
}{
	{"length and encoding", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", faultFraming},
	{"encoding and length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", faultFraming},
	{"encoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", faultLength},
	{"encoding twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n", faultFraming},
	{"encoding in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", faultFraming},
	{"encoding with a blank", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", faultFraming},
	{"encoding behind a tab", "POST / HTTP/1.1\r\nHost: a\r\n\tTransfer-Encoding: chunked\r\n\r\n", faultFraming},
	{"length twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", faultFraming},
	{"length list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", faultFraming},
	{"length sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", faultFraming},
	{"length negative", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", faultFraming},
	{"length hex", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", faultFraming},
	{"length empty", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", faultFraming},
	{"length beyond int64", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\n", faultFraming},
	{"obs-fold", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", faultFraming},
	{"bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", faultFraming},
	{"bare LF after a field", "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", faultFraming},
	{"bare LF as the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", faultFraming},
	{"bare LF throughout", "GET / HTTP/1.1\nHost: a\n\n", faultFraming},
	{"blank line first", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", faultFraming},
	{"bare LF first", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", faultFraming},
	{"bare CR in a value", "GET / HTTP/1.1\r\nHost: a\rX: 1\r\n\r\n", faultFraming},
	{"CR before the end", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", faultFraming},
	{"CR in a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\r\n\r\nhello", faultFraming},
	{"NUL in a value", "GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n", faultFraming},
	{"no colon", "GET / HTTP/1.1\r\nHost a\r\n\r\n", faultFraming},
	{"empty name", "GET / HTTP/1.1\r\n: a\r\n\r\n", faultFraming},
	{"name with a blank", "GET / HTTP/1.1\r\nHo st: a\r\n\r\n", faultFraming},
	{"name with a byte beyond ASCII", "GET / HTTP/1.1\r\nHo\xc3st: a\r\n\r\n", faultFraming},
	{"two blanks", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", faultFraming},
	{"blank in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", faultFraming},
	{"fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", faultFraming},
	{"target beyond ASCII", "GET /\xc3\xbc HTTP/1.1\r\nHost: a\r\n\r\n", faultFraming},
	{"authority form", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", faultFraming},
	{"another scheme", "GET file:///etc HTTP/1.1\r\nHost: a\r\n\r\n", faultFraming},
	{"user in the target", "GET http://b@a/ HTTP/1.1\r\nHost: a\r\n\r\n", faultFraming},
	{"asterisk", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", faultFraming},
	{"no version", "GET /\r\n\r\n", faultFraming},
	{"HTTP/0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", faultHTTPVersion},
	{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", faultFraming},
	{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", faultHTTPVersion},
	{"lower-case protocol", "GET / http/1.1\r\nHost: a\r\n\r\n", faultFraming},
	{"expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n", faultExpectation},
	{"expected body too large", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 101\r\n\r\n", faultTooLarge},
	{"header too large", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 1024) + "\r\n\r\n", faultHeaders},
	{"target too large", "GET /" + strings.Repeat("a", 1024), faultHeaders},
	{"too many fields", "GET / HTTP/1.1\r\n" + strings.Repeat("X: 1\r\n", 11) + "\r\n", faultHeaderTooMany},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", faultFraming},
}

func TestGatePasses(t *testing.T) {
	for _, text := range good {
		for n := 1; n <= len(text); n++ {
			if passed, f := feed(text, n); f != nil || passed != len(text) {
				t.Errorf("%q in portions of %d: passed %d of %d, fault %v", text, n, passed, len(text), f)
			}
		}
	}
}

func TestGateStops(t *testing.T) {
	for _, c := range bad {
		for n := 1; n <= len(c.text); n++ {
			if _, f := feed(c.text, n); f != c.fault {
				t.Errorf("%s in portions of %d: %v, want %v", c.name, n, f, c.fault)
			}
		}
	}
}

// TestGateKeepsBadMessages holds that nothing passes of a message that came
// with others and is stopped, and all of those before it.
func TestGateKeepsBadMessages(t *testing.T) {
	for _, c := range bad {
		for _, before := range good {
			text := before + c.text
			passed, f := feed(text, len(text))
			if f != c.fault || passed != len(before) {
				t.Errorf("%q before %s: passed %d of %d, fault %v", before, c.name, passed, len(before), f)
			}
		}
	}
}

func TestGateAllocatesNothing(t *testing.T) {
	g := newGate()
	message := []byte("POST /predict HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello")
	if n := testing.AllocsPerRun(100, func() {
		if _, f := g.scan(message); f != nil {
			t.Fatal(f)
		}
	}); n != 0 {
		t.Errorf("%v allocations a message", n)
	}
}

// FuzzGate (H2) holds that portions make no difference, and that what the gate
// passes is read by net/http as the same messages.
func FuzzGate(f *testing.F) {
	for _, text := range good {
		f.Add(text, 7)
	}
	for _, c := range bad {
		f.Add(c.text, 3)
	}
	f.Fuzz(holdGate)
}

func holdGate(t *testing.T, text string, n int) {
	t.Helper()
	whole, fault := feed(text, max(1, len(text)))
	if _, parts := feed(text, max(1, n)); parts != fault {
		t.Fatalf("%q: %v whole, %v in portions of %d", text, fault, parts, n)
	}
	g := newGate()
	r := bufio.NewReaderSize(bytes.NewReader([]byte(text[:whole])), whole+16)
	if _, err := r.Peek(whole); err != nil {
		t.Fatal(err)
	}
	for rest := text[:whole]; rest != ""; {
		// What one message is to the gate.
		size := 0
		for size < len(rest) {
			if _, f := g.scan([]byte(rest[size : size+1])); f != nil {
				t.Fatalf("%q: %v within what was passed", text, f)
			}
			size++
			if !g.begun() {
				break
			}
		}
		if g.begun() {
			return // cut off; nobody answers it
		}
		req, err := http.ReadRequest(r)
		if err != nil {
			return // stricter in what a value may hold, as fasthttp is
		}
		body := new(bytes.Buffer)
		if _, err := body.ReadFrom(req.Body); err != nil {
			t.Fatalf("%q: net/http read another body: %v", text, err)
		}
		if left := r.Buffered(); left != len(rest)-size {
			t.Fatalf("%q: net/http has %d bytes left, the gate %d", text, left, len(rest)-size)
		}
		rest = rest[size:]
	}
}

func BenchmarkGate(b *testing.B) {
	g := newGate()
	body := `{"observations":[{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}]}`
	message := []byte("POST /predict HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nContent-Length: 81\r\n\r\n" + body)
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	g.maxBody = 1000
	for b.Loop() {
		if _, f := g.scan(message); f != nil {
			b.Fatal(f)
		}
	}
}
