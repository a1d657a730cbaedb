package server

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"
)

// corsPolicy says which pages may call the server.
type corsPolicy struct {
	any     bool
	origins []string
}

func parseCORS(list []string) (corsPolicy, error) {
	var p corsPolicy
	for _, entry := range list {
		o := strings.TrimSuffix(strings.TrimSpace(entry), "/")
		if o == "*" {
			p.any = true
			continue
		}
		u, err := url.Parse(o)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
			return p, fmt.Errorf("CORS origin %q: expected scheme://host[:port], or \"*\"", entry)
		}
		p.origins = append(p.origins, strings.ToLower(o))
	}
	return p, nil
}

// admit decides about a request that names an origin: one of the list and one
// of the server's own pages pass, and the former gets the headers that let the
// page read the answer. An origin that is allowed by "*" never gets
// credentials.
func (p *corsPolicy) admit(ctx *fasthttp.RequestCtx, origin, host []byte) error {
	h := &ctx.Response.Header
	switch {
	case p.listed(origin):
		h.SetBytesV(fasthttp.HeaderAccessControlAllowOrigin, origin)
		h.Set(fasthttp.HeaderAccessControlAllowCredentials, "true")
		h.Set(fasthttp.HeaderVary, "Origin")
	case sameOrigin(origin, host):
		return nil
	case p.any:
		h.Set(fasthttp.HeaderAccessControlAllowOrigin, "*")
	default:
		return faultOrigin
	}
	h.Set(fasthttp.HeaderAccessControlExposeHeaders, "X-Request-ID, X-Process-Time, Retry-After, Inference-Header-Content-Length")
	if ctx.IsOptions() {
		h.Set(fasthttp.HeaderAccessControlAllowMethods, "GET, POST, DELETE")
		h.Set(fasthttp.HeaderAccessControlAllowHeaders, "Content-Type, Authorization, X-API-Key, X-Request-ID, Inference-Header-Content-Length, traceparent, tracestate")
		h.Set(fasthttp.HeaderAccessControlMaxAge, "600")
	}
	return nil
}

func (p *corsPolicy) listed(origin []byte) bool {
	for _, o := range p.origins {
		if foldEqual(origin, o) {
			return true
		}
	}
	return false
}

// sameOrigin reports whether a page of the server itself calls. The scheme is
// left out of account, since a proxy may have taken off TLS.
func sameOrigin(origin, host []byte) bool {
	_, authority, ok := bytes.Cut(origin, []byte("://"))
	return ok && len(host) > 0 && bytes.EqualFold(authority, host)
}
