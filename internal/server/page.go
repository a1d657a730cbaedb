package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"

	"github.com/valyala/fasthttp"
)

// A page is made of files that are the same for everybody: they hold no data,
// and what they show they ask of the other routes, with the key of whoever
// looks at them.

// Asset is a file of a page.
type Asset struct {
	Name      string
	MediaType string
	Body      []byte
}

// asset is a file of a page with its entity tag, which changes with its bytes.
type asset struct {
	mediaType string
	body      []byte
	etag      []byte
}

func newAsset(mediaType string, body []byte) *asset {
	sum := sha256.Sum256(body)
	return &asset{mediaType, body, []byte(`"` + hex.EncodeToString(sum[:12]) + `"`)}
}

// pagePolicy lets a page run its own files and ask its own server, and nothing
// else: no inline code, no other host, no frame around it.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page answers with a file of a page and what a browser is to make of it. The
// browser asks each time whether the file has changed.
func (x *exchange) page(a *asset) error {
	if a == nil {
		return faultNotFound
	}
	h := &x.ctx.Response.Header
	h.Set(fasthttp.HeaderContentSecurityPolicy, pagePolicy)
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	h.Set(fasthttp.HeaderXFrameOptions, "DENY")
	h.Set(fasthttp.HeaderReferrerPolicy, "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set(fasthttp.HeaderCacheControl, "no-cache")
	h.SetBytesV(fasthttp.HeaderETag, a.etag)
	if matches(x.ctx.Request.Header.Peek(fasthttp.HeaderIfNoneMatch), a.etag) {
		x.ctx.SetStatusCode(fasthttp.StatusNotModified)
		return nil
	}
	h.SetContentType(a.mediaType)
	x.ctx.SetStatusCode(fasthttp.StatusOK)
	x.ctx.Response.SetBody(a.body)
	return nil
}

// matches reports whether an If-None-Match names an entity tag, weakly compared
// (RFC 9110, 13.1.2). Our tags hold no commas.
func matches(header, etag []byte) bool {
	for tag := range bytes.SplitSeq(header, []byte(",")) {
		tag = bytes.TrimSpace(tag)
		if string(tag) == "*" || bytes.Equal(bytes.TrimPrefix(tag, []byte("W/")), etag) {
			return true
		}
	}
	return false
}
