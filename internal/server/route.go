package server

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"
)

// A request is routed and authorised on one form of its target: the bytes
// before the first question mark, as they came. Nothing is decoded and nothing
// is normalised, so a path with an escape, a doubled slash or a dot segment is
// no route.

// endpoint is one path template and the methods it takes.
type endpoint struct {
	template string // label of metrics and spans
	get      handlerFunc
	post     handlerFunc
	del      handlerFunc // DELETE
	allow    string      // value of the Allow header
	// open endpoints ask for no key and answer for any host: probes and
	// scrapers bring neither.
	open bool
	// page endpoints ask for no key, being the same for everybody, and carry
	// the headers that a browser wants.
	page bool
	// admin endpoints ask for a key of an admin, and are off where there is none.
	admin bool
	// metrics endpoints are open until there is a key of that scope.
	metrics bool
	// v2 endpoints answer errors in the form of the Open Inference Protocol.
	v2 bool
	// hot endpoints are answered where their requests are read (hot.go). Their
	// POST uses of the request what content and query give.
	hot       bool
	observers [methodCount]atomic.Pointer[observer]
}

type handlerFunc func(x *exchange) error

type observer func(status int, took time.Duration, traceID string)

// routes are the endpoints of a server.
type routes struct {
	exact       map[string]*endpoint
	predict     *endpoint // POST /predict, which is looked for first
	model       *endpoint // POST /v1/models/{model}/predict
	version     *endpoint // POST /v1/models/{model}/versions/{version}/predict
	modelInfo   *endpoint // GET /v1/models/{model}
	versionInfo *endpoint // GET /v1/models/{model}/versions/{version}
	anything    *endpoint // what OPTIONS * asks about
	notFound    *endpoint
	notFound2   *endpoint         // below /v2
	console     map[string]*asset // its files by path; nil where there is none
	v2          v2Routes
	sessions    sessionRoutes
	endpoints   []*endpoint
}

func newRoutes(s *Server) *routes {
	r := &routes{exact: map[string]*endpoint{}}
	add := func(e *endpoint) *endpoint {
		e.allow = e.methods()
		r.endpoints = append(r.endpoints, e)
		if bytes.IndexByte([]byte(e.template), '{') < 0 {
			r.exact[e.template] = e
		}
		return e
	}
	r.predict = add(&endpoint{template: "/predict", post: (*exchange).predict, hot: true})
	r.model = add(&endpoint{template: "/v1/models/{model}/predict", post: (*exchange).predict, hot: true})
	r.version = add(&endpoint{template: "/v1/models/{model}/versions/{version}/predict", post: (*exchange).predict, hot: true})
	add(&endpoint{template: "/v1/models", get: (*exchange).models})
	r.modelInfo = add(&endpoint{template: "/v1/models/{model}", get: (*exchange).metadata})
	r.versionInfo = add(&endpoint{template: "/v1/models/{model}/versions/{version}", get: (*exchange).metadata})
	add(&endpoint{template: "/v1/sessions", post: (*exchange).openSession})
	r.sessions = sessionRoutes{
		session: add(&endpoint{template: "/v1/sessions/{id}", get: (*exchange).sessionInfo, del: (*exchange).closeSession}),
		act:     add(&endpoint{template: "/v1/sessions/{id}/act", post: (*exchange).sessionAct, hot: true}),
		reset:   add(&endpoint{template: "/v1/sessions/{id}/reset", post: (*exchange).resetSession}),
		outcome: add(&endpoint{template: "/v1/sessions/{id}/outcome", post: (*exchange).sessionOutcome}),
	}
	add(&endpoint{template: "/v1/experience", get: (*exchange).experience})
	add(&endpoint{template: "/v1/stream", get: (*exchange).stream})
	add(&endpoint{template: "/healthz", get: (*exchange).healthz, open: true})
	add(&endpoint{template: "/livez", get: (*exchange).livez, open: true})
	add(&endpoint{template: "/readyz", get: (*exchange).readyz, open: true})
	add(&endpoint{template: "/startupz", get: (*exchange).startupz, open: true})
	add(&endpoint{template: "/metadata", get: (*exchange).metadata})
	add(&endpoint{template: "/warmup", post: (*exchange).warmup})
	add(&endpoint{template: "/versions", get: (*exchange).versions})
	add(&endpoint{template: "/admin/reload", post: (*exchange).reload, admin: true})
	add(&endpoint{template: "/admin/rollback", post: (*exchange).rollback, admin: true})
	add(&endpoint{template: "/openapi.json", get: (*exchange).openAPI})
	add(&endpoint{template: "/docs", get: (*exchange).docsPage, page: true})
	add(&endpoint{template: "/docs/docs.js", get: (*exchange).docsScript, page: true})
	add(&endpoint{template: "/docs/docs.css", get: (*exchange).docsStyle, page: true})
	add(&endpoint{template: "/", get: (*exchange).root, page: true})
	if len(s.o.Console) > 0 {
		add(&endpoint{template: "/console", get: (*exchange).consolePage, page: true})
		r.addConsole(s.o.Console, add(&endpoint{template: "/console/{file}", get: (*exchange).consoleFile, page: true}))
	}
	r.v2 = v2Routes{
		model:        add(&endpoint{template: "/v2/models/{model}", get: (*exchange).v2Model, v2: true}),
		ready:        add(&endpoint{template: "/v2/models/{model}/ready", get: (*exchange).v2ModelReady, v2: true}),
		infer:        add(&endpoint{template: "/v2/models/{model}/infer", post: (*exchange).v2Infer, v2: true, hot: true}),
		version:      add(&endpoint{template: "/v2/models/{model}/versions/{version}", get: (*exchange).v2Model, v2: true}),
		versionReady: add(&endpoint{template: "/v2/models/{model}/versions/{version}/ready", get: (*exchange).v2ModelReady, v2: true}),
		versionInfer: add(&endpoint{template: "/v2/models/{model}/versions/{version}/infer", post: (*exchange).v2Infer, v2: true, hot: true}),
	}
	add(&endpoint{template: "/v2", get: (*exchange).v2Server, v2: true})
	add(&endpoint{template: "/v2/health/live", get: (*exchange).v2Live, v2: true, open: true})
	add(&endpoint{template: "/v2/health/ready", get: (*exchange).v2Ready, v2: true, open: true})
	if s.o.MetricsHandler != nil {
		metrics := fasthttpadaptor.NewFastHTTPHandler(s.o.MetricsHandler)
		add(&endpoint{template: "/metrics", open: true, metrics: true, get: func(x *exchange) error {
			metrics(x.ctx)
			return metricsFault(&x.ctx.Response)
		}})
	}
	r.anything = &endpoint{template: "*", allow: "GET, HEAD, POST, DELETE, OPTIONS"}
	r.notFound = &endpoint{template: "other"}
	r.notFound2 = &endpoint{template: "other", v2: true}
	return r
}

// metricsFault gives the errors of the handler of metrics the form of all
// others. It refuses scrapes beyond a few at once with 503.
func metricsFault(r *fasthttp.Response) error {
	status := r.StatusCode()
	if status < fasthttp.StatusBadRequest {
		return nil
	}
	r.Header.Del(fasthttp.HeaderContentEncoding)
	if status == fasthttp.StatusServiceUnavailable {
		return faultScrapes
	}
	return fmt.Errorf("the handler of metrics answered %d", status)
}

// find returns the endpoint of a path, and the model and version that the path
// names, or the session in place of the model.
func (r *routes) find(path []byte) (e *endpoint, model, version []byte) {
	if string(path) == "/predict" {
		return r.predict, nil, nil
	}
	if e := r.exact[string(path)]; e != nil {
		return e, nil, nil
	}
	if string(path) == "*" {
		return r.anything, nil, nil
	}
	if bytes.HasPrefix(path, []byte("/v2/")) {
		return r.find2(path)
	}
	if rest, ok := bytes.CutPrefix(path, []byte(sessionsPath+"/")); ok {
		if e, id := r.sessions.find(rest); e != nil {
			return e, id, nil
		}
		return r.notFound, nil, nil
	}
	rest, ok := bytes.CutPrefix(path, []byte("/v1/models/"))
	if !ok {
		return r.notFound, nil, nil
	}
	model, rest, more := bytes.Cut(rest, []byte("/"))
	if !validName(model) {
		return r.notFound, nil, nil
	}
	switch {
	case !more:
		return r.modelInfo, model, nil
	case string(rest) == "predict":
		return r.model, model, nil
	}
	if rest, ok = bytes.CutPrefix(rest, []byte("versions/")); ok {
		e = r.versionInfo
		if version, ok = bytes.CutSuffix(rest, []byte("/predict")); ok {
			e = r.version
		}
		if validName(version) {
			return e, model, version
		}
	}
	return r.notFound, nil, nil
}

// maxNameLen bounds the names of models and versions.
const maxNameLen = 64

// validName reports whether a name of a model or version has the form
// [A-Za-z0-9][A-Za-z0-9._-]* and no two dots in a row. Names are refused here,
// before anything is looked up.
func validName(b []byte) bool {
	if len(b) == 0 || len(b) > maxNameLen || !alphanumeric(b[0]) {
		return false
	}
	for i, c := range b {
		if !alphanumeric(c) && c != '.' && c != '_' && c != '-' || c == '.' && b[i-1] == '.' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// Methods as they are counted.
const (
	methodGet = iota
	methodPost
	methodHead
	methodOptions
	methodDelete
	methodOther
	methodCount
)

var methodNames = [methodCount]string{"GET", "POST", "HEAD", "OPTIONS", "DELETE", "OTHER"}

func methodIndex(m []byte) int {
	switch string(m) {
	case "POST":
		return methodPost
	case "GET":
		return methodGet
	case "HEAD":
		return methodHead
	case "OPTIONS":
		return methodOptions
	case "DELETE":
		return methodDelete
	}
	return methodOther
}

// methods is the value of the Allow header.
func (e *endpoint) methods() string {
	var list []string
	if e.get != nil {
		list = append(list, "GET", "HEAD")
	}
	if e.post != nil {
		list = append(list, "POST")
	}
	if e.del != nil {
		list = append(list, "DELETE")
	}
	return strings.Join(append(list, "OPTIONS"), ", ")
}

// handler returns what answers a method, or nil.
func (e *endpoint) handler(method int) handlerFunc {
	switch method {
	case methodGet, methodHead:
		return e.get
	case methodPost:
		return e.post
	case methodDelete:
		return e.del
	}
	return nil
}

// observe counts an answer. The observer of a method is made when it is first
// seen, so that metrics name no combination that never came.
func (e *endpoint) observe(m Metrics, method, status int, took time.Duration, traceID string) {
	o := e.observers[method].Load()
	if o == nil {
		made := observer(m.Route(methodNames[method], e.template))
		if e.observers[method].CompareAndSwap(nil, &made) {
			o = &made
		} else {
			o = e.observers[method].Load()
		}
	}
	(*o)(status, took, traceID)
}
