package serving

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
)

// xaesNonce is the size of a nonce of XAES-256-GCM.
const xaesNonce = 24

// xaes is XAES-256-GCM (C2SP, c2sp.org/XAES-256-GCM): AES-256-GCM whose key is
// derived, for each message, from the first half of a nonce of 24 bytes. AES-GCM
// itself has a nonce of 12, of which no more than 2³² may be drawn under one
// key: a server that seals a token for each step of a thousand robots would be
// there in a day. Here it is 2⁸⁰.
type xaes struct {
	block cipher.Block
	k1    [aes.BlockSize]byte // the subkey of CMAC
}

// newXAES takes a key of 32 bytes.
func newXAES(key []byte) xaes {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("serving: " + err.Error()) // The key has another size.
	}
	x := xaes{block: block}
	block.Encrypt(x.k1[:], x.k1[:])
	high := x.k1[0] >> 7
	for i := range x.k1 {
		x.k1[i] <<= 1
		if i+1 < len(x.k1) {
			x.k1[i] |= x.k1[i+1] >> 7
		}
	}
	x.k1[len(x.k1)-1] ^= high * 0x87
	return x
}

// derive returns the AES-256-GCM of the first half of a nonce.
func (x *xaes) derive(nonce []byte) cipher.AEAD {
	var key [32]byte
	for i := range 2 {
		half := key[i*aes.BlockSize:][:aes.BlockSize]
		copy(half, []byte{0, byte(i + 1), 'X', 0})
		copy(half[4:], nonce[:12])
		subtle.XORBytes(half, half, x.k1[:])
		x.block.Encrypt(half, half)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("serving: " + err.Error())
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("serving: " + err.Error())
	}
	return gcm
}

// seal appends the sealed text and its tag to dst.
func (x *xaes) seal(dst, nonce, text, also []byte) []byte {
	return x.derive(nonce).Seal(dst, nonce[12:xaesNonce], text, also)
}

// open appends the text of what was sealed to dst.
func (x *xaes) open(dst, nonce, sealed, also []byte) ([]byte, error) {
	return x.derive(nonce).Open(dst, nonce[12:xaesNonce], sealed, also)
}
