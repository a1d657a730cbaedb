// Package inputs makes bad inputs of good ones: seeds that are cut, flipped,
// grown, spliced and spiked with what decoders have stumbled over. It is for
// tests of large numbers, where a fuzzer that watches coverage is too slow; it
// must not import anything of the module.
package inputs

import (
	"encoding/binary"
	"math/rand/v2"
)

// Source makes inputs. The same seed makes the same ones. It is not safe for use
// by several goroutines.
type Source struct {
	rng    *rand.Rand
	corpus [][]byte
	tokens [][]byte
	max    int
	buf    []byte
}

// New returns a source over a corpus, with tokens to put in besides those that
// every source has. Inputs are no longer than max bytes.
func New(seed uint64, corpus [][]byte, limit int, tokens ...string) *Source {
	s := &Source{rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), corpus: corpus, max: limit}
	for _, t := range append(tokens, common...) {
		s.tokens = append(s.tokens, []byte(t))
	}
	return s
}

// common are tokens of JSON, MessagePack, HTTP and of lengths at their limits.
var common = []string{
	"null", "true", "NaN", "Infinity", "1e999", "-0", "1e-400", "0x1", "9223372036854775808", "18446744073709551616", "340282346638528859811704183484516925440",
	"{", "}", "[", "]", ",", ":", `"`, `\u0000`, `\ud800`, `\`, "\xff", "\xc0\x80", "\xef\xbb\xbf", "\x00",
	"\r\n", "\n", "\r", "\r\n\r\n", " ", "\t", "%00", "..", "/",
	"\xc1", "\xc6\xff\xff\xff\xff", "\xdd\xff\xff\xff\xff", "\xdf\xff\xff\xff\xff", "\xc9\xff\xff\xff\xff", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
}

// IntN returns a number below n.
func (s *Source) IntN(n int) int { return s.rng.IntN(n) }

// Next returns an input, which is valid until the next one.
func (s *Source) Next() []byte {
	b := append(s.buf[:0], s.corpus[s.rng.IntN(len(s.corpus))]...)
	for range 1 + s.rng.IntN(6) {
		b = s.change(b)
	}
	if len(b) > s.max {
		b = b[:s.max]
	}
	s.buf = b
	return b
}

// span is a part of n bytes.
func (s *Source) span(n, longest int) (from, to int) {
	if n == 0 {
		return 0, 0
	}
	from = s.rng.IntN(n)
	return from, min(n, from+1+s.rng.IntN(longest))
}

func (s *Source) change(b []byte) []byte {
	from, to := s.span(len(b), 32)
	switch s.rng.IntN(10) {
	case 0: // a bit
		if len(b) > 0 {
			b[from] ^= 1 << s.rng.IntN(8)
		}
	case 1: // a byte
		if len(b) > 0 {
			b[from] = byte(s.rng.Uint32())
		}
	case 2: // the end is missing
		b = b[:from]
	case 3: // a part is missing
		b = append(b[:from], b[to:]...)
	case 4: // a part comes twice
		b = s.insert(b, from, append([]byte(nil), b[from:to]...))
	case 5: // a part comes often
		part := append([]byte(nil), b[from:to]...)
		for range 1 + s.rng.IntN(20) {
			b = s.insert(b, from, part)
		}
	case 6: // a part of another seed
		other := s.corpus[s.rng.IntN(len(s.corpus))]
		i, j := s.span(len(other), 64)
		b = s.insert(b, from, other[i:j])
	case 7: // the rest is another seed's
		other := s.corpus[s.rng.IntN(len(s.corpus))]
		i, _ := s.span(len(other), 1)
		b = append(b[:from], other[i:]...)
	case 8: // a token
		b = s.insert(b, from, s.tokens[s.rng.IntN(len(s.tokens))])
	case 9: // a number where lengths are
		if len(b)-from >= 8 {
			n := s.rng.Uint64() >> s.rng.IntN(64)
			binary.BigEndian.PutUint64(b[from:], n)
		}
	}
	return b
}

func (s *Source) insert(b []byte, at int, part []byte) []byte {
	if len(b)+len(part) > s.max {
		return b
	}
	n := len(b)
	b = append(b, part...)
	copy(b[at+len(part):], b[at:n])
	copy(b[at:], part)
	return b
}
