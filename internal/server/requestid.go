package server

import (
	"encoding/hex"
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
	var raw [16]byte
	hi, lo := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		raw[i] = byte(hi >> (8 * i))
		raw[8+i] = byte(lo >> (8 * i))
	}
	raw[6] = raw[6]&0x0f | 0x40
	raw[8] = raw[8]&0x3f | 0x80
	for i, part := range [...][]byte{raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return b
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
