package server

import (
	"encoding/binary"
	"math/rand/v2"
)

// maxRequestIDLen is the longest request id that is taken from a client.
const maxRequestIDLen = 128

// requestID appends the client's id when it is sane, [A-Za-z0-9._-]{1,128},
// and otherwise a random UUID (version 4).
func requestID(b, given []byte) []byte {
	if saneRequestID(given) {
		return append(b, given...)
	}
	hi, lo := rand.Uint64(), rand.Uint64()
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(0xc0<<56) | 0x80<<56
	// hex.AppendEncode part by part takes many times as long.
	var text [36]byte
	putHex(text[0:8], hi>>32)
	text[8] = '-'
	putHex(text[9:13], hi>>16)
	text[13] = '-'
	putHex(text[14:18], hi)
	text[18] = '-'
	putHex(text[19:23], lo>>48)
	text[23] = '-'
	putHex(text[24:36], lo)
	return append(b, text[:]...)
}

// putHex writes as many of v's last digits as b has room for, an even number.
func putHex(b []byte, v uint64) {
	for i := len(b) - 2; i >= 0; i -= 2 {
		binary.LittleEndian.PutUint16(b[i:], hexPairs[byte(v)])
		v >>= 8
	}
}

// hexPairs are the two digits of each byte, the first in the low half.
var hexPairs [256]uint16

func init() {
	const digits = "0123456789abcdef"
	for i := range hexPairs {
		hexPairs[i] = uint16(digits[i>>4]) | uint16(digits[i&15])<<8
	}
}

func saneRequestID(b []byte) bool {
	if len(b) == 0 || len(b) > maxRequestIDLen {
		return false
	}
	for _, c := range b {
		if !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
