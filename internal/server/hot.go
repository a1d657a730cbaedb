package server

import (
	"bytes"
	"io"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

// A hot request is one for actions that says nothing of HTTP but what such
// requests mostly say: what the gate saw of it is enough to answer it. It is
// answered where it is read, by the handler of its route, and fasthttp never
// sees it; parsing it a second time would cost as much as the policy. Every other
// request, the first of each connection among them, is passed on as it came,
// and each answer is the same either way but for the order of header fields.
//
// While hot requests come fasthttp takes the connection for an idle one. It
// therefore ends it without a word where it times out, and closes it first when
// the server stops, which waits for what is under way (gatedConn.Close).

// hotRequest is what an exchange knows of a hot request and of its answer.
type hotRequest struct {
	head  *head
	body  []byte
	local bool // came over a Unix socket

	args fasthttp.Args

	status        int
	media, answer []byte
	inferLength   int    // for its header field; 0 sends none
	fields        []byte // of the answer, each with its end
	closing       bool   // the connection is closed behind the answer

	date   []byte
	dateAt int64 // the second that date says
}

// query returns the parameters of the target.
func (h *hotRequest) query() *fasthttp.Args {
	_, query, _ := bytes.Cut(h.head.target, []byte("?"))
	h.args.ParseBytes(query)
	return &h.args
}

// set adds a header field to the answer.
func (h *hotRequest) set(name, value string) {
	h.fields = append(append(h.fields, name...), ": "...)
	h.fields = append(append(h.fields, value...), "\r\n"...)
}

// appendTo appends the answer as it is sent.
func (h *hotRequest) appendTo(b []byte, id []byte, now time.Time, took time.Duration) []byte {
	if h.status == fasthttp.StatusOK {
		b = append(b, "HTTP/1.1 200 OK\r\nDate: "...)
	} else {
		b = append(b, "HTTP/1.1 "...)
		b = strconv.AppendInt(b, int64(h.status), 10)
		b = append(append(b, ' '), fasthttp.StatusMessage(h.status)...)
		b = append(b, "\r\nDate: "...)
	}
	if second := now.Unix(); second != h.dateAt {
		h.date, h.dateAt = fasthttp.AppendHTTPDate(h.date[:0], now), second
	}
	b = append(b, h.date...)
	b = append(b, "\r\nContent-Type: "...)
	b = append(b, h.media...)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(h.answer)), 10)
	if h.inferLength > 0 {
		b = append(b, "\r\nInference-Header-Content-Length: "...)
		b = strconv.AppendInt(b, int64(h.inferLength), 10)
	}
	b = append(b, "\r\nX-Request-ID: "...)
	b = append(b, id...)
	b = append(b, "\r\nX-Process-Time: "...)
	b = appendSeconds(b, took)
	b = append(b, "\r\n"...)
	b = append(b, h.fields...)
	if h.closing {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, "\r\n"...)
	return append(b, h.answer...)
}

// release lets go of what is the connection's.
func (h *hotRequest) release() {
	h.head, h.body, h.answer, h.media, h.fields = nil, nil, nil, nil, h.fields[:0]
	h.inferLength, h.closing = 0, false
}

// maxPending is how many bytes of answers to pipelined requests wait for those
// behind them.
const maxPending = 16 << 10

// readHot answers hot requests until something else comes, and returns that.
// No message is under way when it is called.
func (c *gatedConn) readHot(p []byte) (int, error) {
	if c.direct == nil {
		c.direct = newDirect(c)
	}
	if c.direct.possible() {
		return c.direct.read(p)
	}
	for {
		n, err := c.receive(p)
		b := batch{p: p, n: n, fd: -1}
		if more, n, err := c.serve(&b, err); !more {
			return n, err
		}
	}
}

// batch is what one read brought: requests that are answered up to at, bytes
// that the gate has seen up to seen.
type batch struct {
	p           []byte
	at, seen, n int
	fault       *fault
	last        bool // nothing is read any more

	fd    int  // of a connection that is being read directly, or -1
	short bool // the body of the request at at has to be read first, which is not done directly
}

// serve answers what a read brought, or the rest of a batch that was short. It
// reports whether what comes next may be hot, too; where not, and the batch is
// not short, n and err are what Read returns.
func (c *gatedConn) serve(b *batch, failed error) (more bool, n int, err error) {
	switch {
	case b.short:
		b.short = false
	case b.n == 0:
		return false, 0, failed
	case failed != nil:
		n, err = c.pass(b.p, 0, 0, b.n, false, failed)
		return false, n, err
	case !c.state.CompareAndSwap(connOpen, connBusy):
		return false, 0, io.EOF // closed meanwhile
	}
	if err = c.answerBatch(b); b.short {
		return false, 0, nil
	}
	if !c.state.CompareAndSwap(connBusy, connOpen) {
		c.state.Store(connOpen) // fasthttp closes it now
		b.last = true
	}
	switch {
	case b.last || err != nil: // an error is of a client that does not read
		return false, 0, io.EOF
	case b.fault != nil:
		n, err = c.refuse(b.p, 0, false, b.fault)
		return false, n, err
	case b.at < b.n:
		n, err = c.pass(b.p, b.at, b.seen, b.n, false, nil)
		return false, n, err
	}
	c.read.want = c.ended.Add(c.s.limits.IdleTimeout)
	return true, 0, nil
}

// answerBatch answers the hot requests of a batch up to the first other one.
// The error is that of sending the answers.
func (c *gatedConn) answerBatch(b *batch) error {
	for b.at < b.n && !b.last {
		if b.seen == b.at {
			n, whole, f := c.gate.header(b.p[b.at:b.n], &c.head)
			b.seen += n
			if b.fault = f; f != nil || !whole {
				break
			}
		}
		e, model, version := c.route()
		end := b.seen + int(min(c.gate.body, smallBody))
		if e == nil || end > len(b.p) {
			break
		}
		if end > b.n {
			if err := c.flush(b.fd); err != nil {
				return err
			}
			if b.short = b.fd >= 0; b.short {
				return nil
			}
			if !c.more(b, end) {
				break
			}
		}
		c.gate.body = 0
		b.last = c.s.answerHot(c, e, model, version, b.p[b.seen:end])
		b.at, b.seen = end, end
		if len(c.out) > maxPending {
			if err := c.flush(b.fd); err != nil {
				return err
			}
		}
	}
	return c.flush(b.fd)
}

// route returns the endpoint of the request whose header has just ended, nil
// where the request is not hot.
func (c *gatedConn) route() (e *endpoint, model, version []byte) {
	h := &c.head
	if size := c.gate.body; !h.plain || h.given&headHost == 0 || string(h.method) != "POST" || size <= 0 || size > min(smallBody, c.gate.maxBody) {
		return nil, nil, nil
	}
	path := h.target
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	if e, model, version = c.s.routes.find(path); !e.hot {
		return nil, nil, nil
	}
	return e, model, version
}

// more reads on until the batch reaches end. It reports false where that does
// not come in time.
func (c *gatedConn) more(b *batch, end int) bool {
	c.read.want = time.Now().Add(c.s.limits.HeaderTimeout)
	for b.n < end {
		n, err := c.receive(b.p[b.n:])
		b.n += n
		if err != nil && b.n < end {
			return false
		}
	}
	return true
}

// flush sends the answers that wait, directly where fd is not -1: what the
// system takes at once needs no deadline.
func (c *gatedConn) flush(fd int) (err error) {
	if len(c.out) == 0 {
		return nil
	}
	rest := c.out
	if fd >= 0 {
		rest = rest[sendNow(fd, rest):]
	}
	if len(rest) > 0 {
		c.write.want = c.ended.Add(c.s.limits.WriteTimeout)
		_, err = c.Write(rest)
	}
	if c.out = c.out[:0]; cap(c.out) > maxPending {
		c.out = nil
	}
	return err
}

// answerHot appends the answer to the request whose head is the connection's.
// It reports whether that is the last one.
func (s *Server) answerHot(c *gatedConn, e *endpoint, model, version, body []byte) (last bool) {
	x := s.pool.Get().(*exchange)
	h := &x.hot
	h.head, h.body, h.local = &c.head, body, c.local
	x.start = time.Now()
	c.answered++
	x.arrive(x.start)
	x.method, x.endpoint, x.model, x.version, x.code, x.key = methodPost, e, model, version, "", nil
	x.id = requestID(x.idSpace[:0], h.head.id)
	h.closing = s.phase.Load() == phaseClosing
	s.metrics.Active(1)
	defer x.endHot(c, &last)
	if err := x.serveHot(c); err != nil {
		x.fail(err)
	}
	return last
}

// serveHot decides whether the request may be answered and answers it.
func (x *exchange) serveHot(c *gatedConn) error {
	s := x.s
	if !s.hosts.allow(x.hot.head.host) && !(s.hosts.loopback && x.local()) {
		return x.hostFault(&s.hosts)
	}
	if err := x.admitInfer(c); err != nil {
		return err
	}
	return x.endpoint.post(x)
}

// endHot is end for a hot request.
func (x *exchange) endHot(c *gatedConn, last *bool) {
	if r := recover(); r != nil {
		h := &x.hot
		h.fields, h.inferLength, h.closing = h.fields[:0], 0, true
		x.panicked(r)
	}
	took := time.Since(x.start)
	c.ended = x.start.Add(took)
	c.out = x.hot.appendTo(c.out, x.id, x.start, took)
	*last = x.hot.closing
	x.count(x.hot.status, took)
	x.release()
}
