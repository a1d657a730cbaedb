package server

import (
	"bytes"
	"strconv"

	"github.com/valyala/fasthttp"
)

// The console is a page about the server and its policies, which somebody else
// made: the server has its files from its options and knows nothing of what is
// in them. Their addresses are relative to one level, so that the same page
// answers at /console and at / and behind a proxy that adds a prefix.

const consolePath = "/console"

// consoleIndex is the file that is the page itself.
const consoleIndex = "index.html"

// addConsole adds the files of the console. They share an endpoint, or each
// would be a series of every metric.
func (r *routes) addConsole(files []Asset, e *endpoint) {
	r.console = map[string]*asset{}
	for _, f := range files {
		path := consolePath + "/" + f.Name
		if f.Name == consoleIndex {
			path = consolePath
		} else {
			r.exact[path] = e
		}
		r.console[path] = newAsset(f.MediaType, f.Body)
	}
}

func (x *exchange) consolePage() error { return x.page(x.s.routes.console[consolePath]) }

func (x *exchange) consoleFile() error {
	path, _, _ := bytes.Cut(x.ctx.RequestURI(), []byte("?"))
	if i := bytes.LastIndex(path, []byte(consolePath+"/")); i > 0 {
		path = path[i:] // of a target in absolute form
	}
	return x.page(x.s.routes.console[string(path)])
}

// home answers / to what asks for no upgrade: a browser gets the console, and
// everybody else is told where the documentation is.
func (x *exchange) home() error {
	if x.s.routes.console == nil {
		return x.documentation()
	}
	x.ctx.Response.Header.Set(fasthttp.HeaderVary, fasthttp.HeaderAccept)
	if prefersPage(x.ctx.Request.Header.Peek(fasthttp.HeaderAccept)) {
		return x.consolePage()
	}
	return x.documentation()
}

// prefersPage reports whether an Accept header names text/html and no JSON that
// it likes better. "*/*" alone is what programs send.
func prefersPage(accept []byte) bool {
	html, data := -1.0, -1.0
	for entry := range bytes.SplitSeq(accept, []byte(",")) {
		media, parameters, _ := bytes.Cut(entry, []byte(";"))
		media = bytes.TrimSpace(media)
		switch {
		case foldEqual(media, "text/html"):
			html = max(html, quality(parameters))
		case foldEqual(media, "application/json"):
			data = max(data, quality(parameters))
		}
	}
	return html > 0 && html >= data
}

// quality is the weight of an entry of Accept, 1 where it has none and 0 where
// it is no number.
func quality(parameters []byte) float64 {
	for p := range bytes.SplitSeq(parameters, []byte(";")) {
		name, value, _ := bytes.Cut(bytes.TrimSpace(p), []byte("="))
		if !foldEqual(name, "q") {
			continue
		}
		q, err := strconv.ParseFloat(string(value), 64)
		if err != nil || q != q {
			return 0
		}
		return q
	}
	return 1
}
