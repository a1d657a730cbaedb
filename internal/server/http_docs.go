package server

import (
	_ "embed" // the page and its parts

	"github.com/valyala/fasthttp"
)

// The page at /docs is complete in itself: it draws /openapi.json and needs
// nothing from anywhere else, so that it works on a machine without a network.
var (
	//go:embed docs/docs.html
	docsHTML []byte
	//go:embed docs/docs.js
	docsJS []byte
	//go:embed docs/docs.css
	docsCSS []byte
)

func (x *exchange) docsPage() error   { return x.page("text/html; charset=utf-8", docsHTML) }
func (x *exchange) docsScript() error { return x.page("text/javascript; charset=utf-8", docsJS) }
func (x *exchange) docsStyle() error  { return x.page("text/css; charset=utf-8", docsCSS) }

// page answers with a part of a page and what a browser is to make of it.
func (x *exchange) page(contentType string, body []byte) error {
	h := &x.ctx.Response.Header
	h.Set(fasthttp.HeaderContentSecurityPolicy, "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	h.Set(fasthttp.HeaderXFrameOptions, "DENY")
	h.Set(fasthttp.HeaderReferrerPolicy, "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set(fasthttp.HeaderCacheControl, "no-cache")
	h.SetContentType(contentType)
	x.ctx.SetStatusCode(fasthttp.StatusOK)
	x.ctx.Response.SetBody(body)
	return nil
}

// documentation sends a browser to the page. The address is relative, so that it holds
// behind a proxy that adds a prefix.
func (x *exchange) documentation() error {
	x.ctx.Response.Header.Set(fasthttp.HeaderLocation, "docs")
	x.json(fasthttp.StatusTemporaryRedirect, []byte(`{"service":"carla-rl-serving","docs":"docs"}`))
	return nil
}
