package server

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// appendAction appends the actions of one row.
func appendAction(b []byte, actions []policy.Action, values []float32) []byte {
	if len(actions) > 0 && actions[0].Name == "" {
		if len(actions) == 1 {
			return appendValues(b, &actions[0], actions[0].Shape, values)
		}
		b = append(b, '[')
		for i := range actions {
			if i > 0 {
				b = append(b, ',')
			}
			a := &actions[i]
			b = appendValues(b, a, a.Shape, values[a.Offset:][:a.Size])
		}
		return append(b, ']')
	}
	b = append(b, '{')
	for i := range actions {
		if i > 0 {
			b = append(b, ',')
		}
		a := &actions[i]
		b = appendString(b, a.Name)
		b = append(b, ':')
		b = appendValues(b, a, a.Shape, values[a.Offset:][:a.Size])
	}
	return append(b, '}')
}

// appendValues appends the values of one action, nested to its shape.
func appendValues(b []byte, a *policy.Action, shape []int, values []float32) []byte {
	if len(shape) == 0 {
		if a.Discrete {
			return strconv.AppendInt(b, int64(values[0]), 10)
		}
		return appendFloat32(b, values[0])
	}
	b = append(b, '[')
	if n := shape[0]; n > 0 {
		size := len(values) / n
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValues(b, a, shape[1:], values[i*size:][:size])
		}
	}
	return append(b, ']')
}

// appendFloat32 appends the shortest decimal that reads back as v, always with
// a point or an exponent, so that a typed client sees a number and not an
// integer.
func appendFloat32(b []byte, v float32) []byte {
	switch {
	case v == 0 && !math.Signbit(float64(v)):
		return append(b, "0.0"...)
	case v == 1:
		return append(b, "1.0"...)
	case v == -1:
		return append(b, "-1.0"...)
	}
	format := byte('f')
	if abs := math.Abs(float64(v)); abs != 0 && (abs < 1e-5 || abs >= 1e16) {
		format = 'e'
	}
	start := len(b)
	b = strconv.AppendFloat(b, float64(v), format, -1, 32)
	for _, c := range b[start:] {
		if c == '.' || c == 'e' {
			return b
		}
	}
	return append(b, ".0"...)
}

// appendMillis appends a duration as milliseconds with nanosecond digits, none
// of them a trailing zero but the first.
func appendMillis(b []byte, d time.Duration) []byte {
	ns := uint64(max(0, d.Nanoseconds()))
	whole, rest := ns/1e6, uint32(ns%1e6)
	if whole < 10 {
		b = append(b, byte('0'+whole), '.')
	} else {
		b = append(strconv.AppendUint(b, whole, 10), '.')
	}
	b = appendFour(b, rest/100)
	b = append(b, pairs[2*(rest%100)], pairs[2*(rest%100)+1])
	end := len(b)
	for b[end-1] == '0' && b[end-2] != '.' {
		end--
	}
	return b[:end]
}

// appendSeconds appends a duration as seconds with nanosecond digits.
func appendSeconds(b []byte, d time.Duration) []byte {
	ns := uint64(max(0, d.Nanoseconds()))
	b = append(strconv.AppendUint(b, ns/1e9, 10), '.')
	rest := uint32(ns % 1e9)
	b = appendFour(b, rest/1e5)
	b = append(b, byte('0'+rest/1e4%10))
	return appendFour(b, rest%1e4)
}

// appendPadded appends n with leading zeros to the number of digits.
func appendPadded(b []byte, n int64, digits int) []byte {
	b = append(b, "000000000"[:digits]...)
	for i := len(b) - 1; n > 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}

// pairs are the numbers of two digits.
const pairs = "00010203040506070809" +
	"10111213141516171819" +
	"20212223242526272829" +
	"30313233343536373839" +
	"40414243444546474849" +
	"50515253545556575859" +
	"60616263646566676869" +
	"70717273747576777879" +
	"80818283848586878889" +
	"90919293949596979899"

// appendFour appends the four digits of n, which is below 10,000.
func appendFour(b []byte, n uint32) []byte {
	high, low := 2*(n/100), 2*(n%100)
	return append(b, pairs[high], pairs[high+1], pairs[low], pairs[low+1])
}

// appendString appends s as a JSON string. What is not UTF-8 becomes U+FFFD,
// and what a page could take for markup is escaped.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	first := 0
	for first < len(s) && plainByte[s[first]] {
		first++
	}
	if first == len(s) { // as nearly every name is
		b = append(b, s...)
		return append(b, '"')
	}
	start := 0
	for i := first; i < len(s); {
		c := s[i]
		if plainByte[c] {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[start:i]...)
			const hex = "0123456789abcdef"
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			default:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(b, s[start:i]...)
			b = append(b, `\ufffd`...)
			i += size
			start = i
			continue
		}
		i += size
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// plainByte are the bytes that stand for themselves in a JSON string.
var plainByte [256]bool

func init() {
	for c := byte(' '); c < 0x7f; c++ {
		plainByte[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
}
