// Package server speaks HTTP and WebSocket: it takes requests and messages from
// connections, decodes them straight into rows of float32, has them answered
// and encodes the answers.
//
// What enters is a listener and a Backend; what leaves are the bodies of the
// documented routes and the frames of streams, or one error envelope for
// everything else. The package imports serving, repository, policy and
// envelope, and for the encodings websocket, msgpack and dtype; it knows no
// file formats, and metrics, traces and logs reach it as interfaces.
//
// An act (act.go) is one request for actions, whatever carried it: a route
// (http_*.go, v2_*.go), a stream (stream*.go) or openpi (openpi*.go). They
// differ in what they decode and in what they add to the answer.
//
// The stack is fasthttp, with what it leaves open closed here: gate.go checks
// the framing of each message before fasthttp sees it, hot.go answers the
// requests for actions that need no more of HTTP than that, listener.go holds the
// limits of connections, handler.go recovers panics, ws_registry.go holds the
// streams, which fasthttp does not know, and drain.go stops without losing a
// request.
package server

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// Options configure a Server. The zero value of a limit is its default, which
// DefaultLimits names.
type Options struct {
	// Version and Commit are the program's, for /healthz and the API
	// description.
	Version, Commit string
	// Device is "cpu" or "cuda".
	Device string

	Limits Limits

	// Sessions keep the states of episodes; nil makes those of the default
	// limits.
	Sessions *serving.Sessions

	// Keys are the API keys; nil asks for none, and turns the routes of admins
	// off, as keys without one of an admin do.
	Keys *Keys
	// Keyless lets everybody use the routes of inference although there are
	// keys, which then are those of admins.
	Keyless bool
	// RateLimit is what one client may send: one key, or one address without
	// one. Keys may have limits of their own.
	RateLimit Rate
	// AllowedHosts are the names that a Host header may carry: "a.example",
	// "*.example" for what is below it, "*" or an empty list for all.
	AllowedHosts []string
	// LoopbackOnly says that the server listens on this machine only. With no
	// AllowedHosts it then answers over TCP for loopback addresses, localhost
	// and names below it alone, or a page whose name was made to lead here
	// could read what it answers.
	LoopbackOnly bool
	// AdminApart says that the routes of admins are answered by ServeAdmin alone,
	// and AdminLoopbackOnly is LoopbackOnly of its listener.
	AdminApart, AdminLoopbackOnly bool
	// CORSOrigins are the origins whose pages may call the server, or "*".
	CORSOrigins []string

	// Recording gives each act the origin that serving.Recorder wants.
	Recording bool

	// Experience is where steps are recorded; nil answers its routes with an
	// error that says so.
	Experience Experience

	// Metrics counts; nil counts nothing.
	Metrics Metrics
	// MetricsHandler answers /metrics; nil leaves the route out, as a server
	// whose metrics have a port of their own does.
	MetricsHandler http.Handler
	// Observations is shown a sample of what policies were asked.
	Observations Observations
	// Console are the files of the page at /console, of which index.html is the
	// page itself; none leave the route out.
	Console []Asset
	// Tracer makes the spans of requests; nil makes none.
	Tracer trace.Tracer
	// Logger takes what an operator should know; nil discards it.
	Logger *slog.Logger
	// AccessLog writes one line for each request; those of open routes only at
	// level debug.
	AccessLog bool

	coldOnly bool // hot requests go the way of all others, for tests
}

// Limits bound what one client can ask of the server.
type Limits struct {
	MaxBodyBytes    int64         // of a request
	MaxBufferBytes  int64         // of large bodies of all connections together; at least MaxBodyBytes
	MaxHeaderBytes  int           // request line and header fields
	MaxHeaderFields int           // lines
	MaxRows         int           // observations in one request
	MaxConns        int           // open at the same time
	MaxConnsPerIP   int           // of one address; 0 is no limit
	HeaderTimeout   time.Duration // from the first byte to the end of a small request
	BodyTimeout     time.Duration // for a body larger than the read buffer
	IdleTimeout     time.Duration // between two requests of one connection
	WriteTimeout    time.Duration // of an answer
	RequestTimeout  time.Duration // from the decoded request to its action
	// MaxClockSkew is how far ahead of the server's clock an observation may
	// have been made, and MaxObservationAge how far behind.
	MaxClockSkew, MaxObservationAge time.Duration
	// MaxStreams bounds the streams that are open at the same time, of all
	// clients, MaxStreamMessage a message of one, and StreamPing is how long one
	// may be silent before it is asked; twice as long and it is closed.
	MaxStreams       int
	MaxStreamMessage int64
	StreamPing       time.Duration
	// MaxAdminActs bounds the acts of admins that are under way at the same time,
	// each of which waits with a connection, and ReloadTimeout how long one waits
	// for the reload that it asked for, which goes on.
	MaxAdminActs  int
	ReloadTimeout time.Duration
	DrainUnready  time.Duration // a stopping server answers /readyz with 503 for this long first
	DrainAccept   time.Duration // and then asks connections to close for this long
}

// DefaultLimits returns the limits that a zero field stands for.
func DefaultLimits() Limits {
	return Limits{
		MaxBodyBytes:    10 << 20,
		MaxBufferBytes:  64 << 20,
		MaxHeaderBytes:  32 << 10,
		MaxHeaderFields: 100,
		MaxRows:         1000,
		MaxConns:        4096,
		HeaderTimeout:   5 * time.Second,
		BodyTimeout:     30 * time.Second,
		IdleTimeout:     60 * time.Second,
		WriteTimeout:    3 * time.Second,
		RequestTimeout:  100 * time.Millisecond,

		MaxClockSkew: time.Second, MaxObservationAge: time.Hour,

		MaxStreams:       1024,
		MaxStreamMessage: 8 << 20,
		StreamPing:       15 * time.Second,

		MaxAdminActs:  64,
		ReloadTimeout: 10 * time.Minute,

		DrainUnready: 0,
		DrainAccept:  300 * time.Millisecond,
	}
}

// orDefault fills the zero fields of l.
func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	setDefault(&l.MaxBodyBytes, d.MaxBodyBytes)
	setDefault(&l.MaxBufferBytes, d.MaxBufferBytes)
	l.MaxBufferBytes = max(l.MaxBufferBytes, l.MaxBodyBytes)
	setDefault(&l.MaxHeaderBytes, d.MaxHeaderBytes)
	setDefault(&l.MaxHeaderFields, d.MaxHeaderFields)
	setDefault(&l.MaxRows, d.MaxRows)
	setDefault(&l.MaxConns, d.MaxConns)
	setDefault(&l.HeaderTimeout, d.HeaderTimeout)
	setDefault(&l.BodyTimeout, d.BodyTimeout)
	setDefault(&l.IdleTimeout, d.IdleTimeout)
	setDefault(&l.WriteTimeout, d.WriteTimeout)
	setDefault(&l.RequestTimeout, d.RequestTimeout)
	setDefault(&l.MaxClockSkew, d.MaxClockSkew)
	setDefault(&l.MaxObservationAge, d.MaxObservationAge)
	setDefault(&l.MaxStreams, d.MaxStreams)
	setDefault(&l.MaxStreamMessage, d.MaxStreamMessage)
	setDefault(&l.StreamPing, d.StreamPing)
	setDefault(&l.MaxAdminActs, d.MaxAdminActs)
	setDefault(&l.ReloadTimeout, d.ReloadTimeout)
	setDefault(&l.DrainAccept, d.DrainAccept)
	return l
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Server answers HTTP requests. Serve may be called for several listeners.
type Server struct {
	backend Backend
	crowded Crowded // the backend where it can tell; else nil
	o       Options
	limits  Limits
	log     *slog.Logger
	hosts   hostList
	cors    corsPolicy
	routes  *routes
	metrics Metrics
	reject  rejections

	mu        sync.Mutex // guards listeners
	listeners []*gatedListener

	http  *fasthttp.Server
	limit connLimit
	large bodyMemory
	// adminLimit and adminHosts are those of the listener of admins: when all
	// connections are taken, theirs are not.
	adminLimit connLimit
	adminHosts hostList
	phase      atomic.Int32 // phaseServing and those after it
	pool       sync.Pool    // of *exchange

	described atomic.Pointer[description]
	inference observerTable
	shards    atomic.Uint32 // that acts were given
	admin     adminActs
	began     time.Time
	pace      pace // of Options.RateLimit
	addresses addressBuckets

	streams       streamRegistry
	streamMetrics streamMetrics
	acts          sync.Pool // of *act, of streams
}

// New returns a server of what b has to offer.
func New(b Backend, o Options) (*Server, error) {
	s := &Server{backend: b, o: o, limits: o.Limits.orDefault(), log: o.Logger, metrics: o.Metrics, began: time.Now(), pace: o.RateLimit.pace()}
	s.crowded, _ = b.(Crowded)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.metrics == nil {
		s.metrics = noMetrics{}
	}
	if s.o.Sessions == nil {
		s.o.Sessions = serving.NewSessions(serving.SessionOptions{})
	}
	if s.o.Device == "" {
		s.o.Device = "cpu"
	}
	var err error
	if s.hosts.patterns, err = parseHosts(o.AllowedHosts); err != nil {
		return nil, err
	}
	if s.cors, err = parseCORS(o.CORSOrigins); err != nil {
		return nil, err
	}
	s.hosts.loopback = o.LoopbackOnly && len(o.AllowedHosts) == 0
	s.adminHosts.patterns, s.adminHosts.loopback = s.hosts.patterns, o.AdminLoopbackOnly && len(o.AllowedHosts) == 0
	s.reject = newRejections(s.metrics)
	s.limit.init(s.limits.MaxConns, s.limits.MaxConnsPerIP)
	s.adminLimit.init(s.limits.MaxAdminActs+adminSpare, 0)
	s.large.init(s.limits.MaxBufferBytes, s.limits.MaxBodyBytes)
	s.metrics.Connections(func() int { return s.limit.open() + s.adminLimit.open() })
	s.metrics.Ready(s.ready)
	s.streams.init(s.limits.MaxStreams)
	s.streamMetrics = newStreamMetrics(s.metrics, s.streams.len)
	s.acts.New = func() any { return s.newAct() }
	s.routes = newRoutes(s)
	s.pool.New = func() any { return &exchange{act: *s.newAct()} }
	s.http = &fasthttp.Server{
		Handler:        s.handle,
		ErrorHandler:   s.handleBroken,
		HeaderReceived: s.bodyDeadline,
		Logger:         fasthttpLogger{s.log},

		Concurrency:        s.limits.MaxConns + s.limits.MaxAdminActs + adminSpare + 64, // the listener refuses first, in our own words
		MaxRequestBodySize: int(s.limits.MaxBodyBytes),
		ReadBufferSize:     s.limits.MaxHeaderBytes + 1024, // the gate refuses first
		ReadTimeout:        s.limits.HeaderTimeout,
		WriteTimeout:       s.limits.WriteTimeout,
		IdleTimeout:        s.limits.IdleTimeout,

		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		KeepHijackedConns:            true, // streams close theirs
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
		LazyRequestTime:              true,
	}
	return s, nil
}

// newAct returns an act, which is reused by goroutines of one processor mostly
// and so counts where few others do.
func (s *Server) newAct() *act { return &act{s: s, shard: s.shards.Add(1)} }

// Serve answers the requests of the connections of ln until Shutdown closes
// it, and returns nil then. The connections are waited for by Shutdown.
func (s *Server) Serve(ln net.Listener) error {
	return s.serveOn(&gatedListener{Listener: ln, s: s, limit: &s.limit})
}

// adminSpare is how many connections the listener of admins takes beside those
// of acts that are under way, so that there is room to ask how the server is.
const adminSpare = 64

// ServeAdmin is Serve of a listener for the routes of admins: besides them it
// answers those of health and metrics and what the versions are, and nothing
// else. Its connections are not those of Limits.MaxConns.
func (s *Server) ServeAdmin(ln net.Listener) error {
	return s.serveOn(&gatedListener{Listener: ln, s: s, limit: &s.adminLimit, admin: true})
}

func (s *Server) serveOn(l *gatedListener) error {
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	err := s.http.Serve(l)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
