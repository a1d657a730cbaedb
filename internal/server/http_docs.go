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

	docsPage   = newAsset("text/html; charset=utf-8", docsHTML)
	docsScript = newAsset("text/javascript; charset=utf-8", docsJS)
	docsStyle  = newAsset("text/css; charset=utf-8", docsCSS)
)

func (x *exchange) docsPage() error   { return x.page(docsPage) }
func (x *exchange) docsScript() error { return x.page(docsScript) }
func (x *exchange) docsStyle() error  { return x.page(docsStyle) }

// documentation sends a client to the page. The address is relative, so that it holds
// behind a proxy that adds a prefix.
func (x *exchange) documentation() error {
	x.ctx.Response.Header.Set(fasthttp.HeaderLocation, "docs")
	x.json(fasthttp.StatusTemporaryRedirect, []byte(`{"service":"carla-rl-serving","docs":"docs"}`))
	return nil
}
