package server

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"net"

	"github.com/valyala/fasthttp"
)

// An upgrade to WebSocket (RFC 6455, 4.2). It passes what every request passes,
// the gate, hosts, origins and keys, and is answered in the form of every
// error where it is refused. After the 101 the gate is out of the way: what the
// connection carries then are frames.

// acceptGUID is what the key of a handshake is hashed with (RFC 6455, 1.3).
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// wantsUpgrade reports whether the request asks for WebSocket.
func (x *exchange) wantsUpgrade() bool {
	return hasToken(x.ctx.Request.Header.Peek(fasthttp.HeaderUpgrade), "websocket")
}

// checkUpgrade holds the request to the rules of the handshake, and returns
// the value that accepts it.
func (x *exchange) checkUpgrade() (accept string, err error) {
	h := &x.ctx.Request.Header
	if !x.wantsUpgrade() {
		x.ctx.Response.Header.Set(fasthttp.HeaderUpgrade, "websocket")
		x.ctx.Response.Header.Set(fasthttp.HeaderConnection, "Upgrade")
		return "", faultUpgrade
	}
	if string(h.Peek("Sec-WebSocket-Version")) != "13" {
		x.ctx.Response.Header.Set("Sec-WebSocket-Version", "13")
		return "", explain(faultUpgrade, "the version of WebSocket that is spoken here is 13")
	}
	key := h.Peek("Sec-WebSocket-Key")
	var nonce [18]byte // room for what 24 characters may hold
	n, decodeErr := base64.StdEncoding.Strict().Decode(nonce[:], key[:min(len(key), 24)])
	switch {
	case !h.IsGet() || !bytes.Equal(h.Protocol(), []byte("HTTP/1.1")):
		return "", explain(faultHandshake, "an upgrade is a GET of HTTP/1.1")
	case !hasToken(h.Peek(fasthttp.HeaderConnection), "upgrade"):
		return "", explain(faultHandshake, "an upgrade says Connection: Upgrade")
	case len(h.PeekAll("Sec-WebSocket-Key")) != 1 || len(key) != 24 || decodeErr != nil || n != 16:
		return "", explain(faultHandshake, "an upgrade has one Sec-WebSocket-Key, 16 bytes in base64")
	case h.ContentLength() > 0:
		return "", explain(faultHandshake, "an upgrade has no body")
	}
	if err := x.admitPage(); err != nil {
		return "", err
	}
	sum := sha1.Sum(append(bytes.Clone(key), acceptGUID...))
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

// admitPage holds an upgrade to the origins. Browsers let every page open a
// WebSocket to every host, with its cookies, and ask nobody first; so a page
// whose origin says nothing ("null") is refused even where any origin may
// call. What is no page sends no Origin.
func (x *exchange) admitPage() error {
	origins := x.ctx.Request.Header.PeekAll("Origin")
	if len(origins) > 1 || len(origins) == 1 && string(bytes.ToLower(origins[0])) == "null" {
		return faultOrigin
	}
	return nil // serve has held one to the list
}

// upgrade answers 101 and has the stream run on the connection then.
func (x *exchange) upgrade(accept string, st *stream) error {
	c, ok := x.ctx.Conn().(*gatedConn)
	if !ok {
		return explain(faultHandshake, "the connection cannot be upgraded")
	}
	if c.early(x.ctx.ConnRequestNum()) {
		// Whoever cannot know yet that it was upgraded must not send frames; a
		// proxy may have taken them for a request of somebody else.
		x.ctx.SetConnectionClose()
		c.linger.Store(true)
		return explain(faultFraming, "there are bytes behind the upgrade, which was not answered yet")
	}
	x.s.streams.begin(func() { st.gated, c.stream = c, st })
	h := &x.ctx.Response.Header
	x.ctx.SetStatusCode(fasthttp.StatusSwitchingProtocols)
	h.Set(fasthttp.HeaderUpgrade, "websocket")
	h.Set(fasthttp.HeaderConnection, "Upgrade")
	h.Set("Sec-WebSocket-Accept", accept)
	x.ctx.Hijack(func(net.Conn) {
		// What fasthttp holds for a connection, its buffers among them, is not
		// needed any longer: the stream has a goroutine of its own.
		go st.run()
	})
	return nil
}

// hasToken reports whether a list of a header holds a token, in lower case.
func hasToken(list []byte, token string) bool {
	for item := range bytes.SplitSeq(list, []byte(",")) {
		if foldEqual(trimBlanks(item), token) {
			return true
		}
	}
	return false
}
