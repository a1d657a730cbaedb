package server

import "math/rand/v2"

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
	// hex.AppendEncode part by part takes three times as long.
	const digits = "0123456789abcdef"
	var text [36]byte
	at := 0
	for i, c := range raw {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text[at] = '-'
			at++
		}
		text[at], text[at+1] = digits[c>>4], digits[c&15]
		at += 2
	}
	return append(b, text[:]...)
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
