//go:build e2e

package chaos_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/load"
	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
)

// bad is clients that ask as they should not. What they get is an error that
// says whose fault it was, or a closed connection; never one of the server.
type bad struct {
	p       *process
	key     string
	stop    chan struct{}
	clients sync.WaitGroup

	inputs  [mischiefs]atomic.Int64
	byCode  sync.Map // status -> *atomic.Int64
	wronged atomic.Int64
}

// The sorts of bad clients.
const (
	badBodies = iota
	badKeys
	badRoutes
	badFrames
	badStreams
	aborted
	slowHeads
	slowBodies
	slowReaders

	mischiefs
)

var mischiefNames = [mischiefs]string{"bad bodies", "wrong keys", "bad routes", "bad framing", "bad streams", "aborted connections", "slow headers", "slow bodies", "clients that do not read"}

// badPause is how long a bad client waits between two inputs, and slowClients how
// many of each slow sort there are.
const (
	badPause    = 100 * time.Millisecond
	slowClients = 4
)

func (p *process) mischief(key string) *bad {
	b := &bad{p: p, key: key, stop: make(chan struct{})}
	for kind := range mischiefs {
		n := 1
		if kind >= slowHeads { // Each takes its time.
			n = slowClients
		}
		for i := range n {
			b.clients.Go(func() { b.client(kind, rand.New(rand.NewPCG(uint64(kind), uint64(i)))) })
		}
	}
	return b
}

// client is one of a sort, until it is told to stop.
func (b *bad) client(kind int, draw *rand.Rand) {
	for {
		b.once(kind, draw)
		b.inputs[kind].Add(1)
		select {
		case <-b.stop:
			return
		case <-time.After(badPause):
		}
	}
}

// end stops the clients and returns how many inputs there were.
func (b *bad) end() (n int64) {
	close(b.stop)
	b.clients.Wait()
	for i := range b.inputs {
		n += b.inputs[i].Load()
	}
	return n
}

// said tells how many of each sort there were and how they were answered.
func (b *bad) said() string {
	var parts []string
	for i, name := range mischiefNames {
		parts = append(parts, fmt.Sprintf("%d %s", b.inputs[i].Load(), name))
	}
	var codes []string
	b.byCode.Range(func(status, n any) bool {
		codes = append(codes, fmt.Sprintf("%v: %d", status, n.(*atomic.Int64).Load()))
		return true
	})
	slices.Sort(codes)
	return strings.Join(parts, ", ") + "; answered " + strings.Join(codes, ", ")
}

// refused holds an answer to be one of some statuses.
func (b *bad) refused(what string, status int, err error, want ...int) {
	n, _ := b.byCode.LoadOrStore(status, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
	if (err != nil || !slices.Contains(want, status)) && b.wronged.Add(1) <= 20 {
		b.p.t.Errorf("%s: answered %d, %v, want %v", what, status, err, want)
	}
}

// badJSON are bodies that are refused, with 400 or 422.
var badJSON = []string{
	``, `{`, `[]`, `null`, `{"observations":[]}`, `{"observations":[{"x":1}]}x`, `{"observations":[{"x":1,"x":2}]}`, `{"observations":[{"X":1}]}`,
	`{"observations":[{"x":NaN}]}`, `{"observations":[{"x":1e999}]}`, `{"observations":[{"x":11}]}`, `{"observations":[{"x":"1"}]}`, `{"observations":[{"x":null}]}`,
	`{"observations":[{}]}`, `{"observations":[{"x":1,"z":1}]}`, `{"observations":[{"x":[1,2]}]}`, `{"observations":[[1,2]]}`, `{"observations":[{"x":1}],"seed":-1}`,
	`{"observations":[{"x":1}],"deadline_ms":-1}`, `{"observations":[{"x":1}],"unknown":1}`, `{"observations":[{"x":1}],"priority":"mine"}`, "\xff\xfe",
	`{"observations":` + strings.Repeat("[", 5000), `{"observations":[{"x":` + strings.Repeat("9", 5000) + `}]}`,
}

func (b *bad) once(kind int, draw *rand.Rand) {
	headers := "X-API-Key: " + b.key + "\r\n"
	c := &caller{addr: b.p.addr, headers: headers}
	defer c.close()
	const js = "application/json"
	fine := []byte(linearBody(1))
	switch kind {
	case badBodies:
		text := badJSON[draw.IntN(len(badJSON))]
		switch draw.IntN(8) {
		case 0:
			status, _, _, err := c.ask("POST", "/predict", "text/plain", fine)
			b.refused("text", status, err, 415)
		case 1: // more than the limit, of which nothing is sent
			b.raw("a body of 1 GiB", []int{413}, "POST /predict HTTP/1.1\r\nHost: x\r\n"+headers+"Content-Type: application/json\r\nContent-Length: 1073741824\r\nExpect: 100-continue\r\n\r\n")
		case 2:
			status, _, _, err := c.ask("POST", "/predict", js, []byte(linearBody(make([]float32, 1001)...)))
			b.refused("1,001 rows", status, err, 422)
		case 3:
			body := msgpack.AppendFromJSON(nil, fine)
			body[draw.IntN(len(body))] ^= byte(1 << draw.IntN(8))
			status, _, _, err := c.ask("POST", "/predict", "application/msgpack", body)
			b.refused("spoilt MessagePack", status, err, 200, 400, 422) // a digit of a number may be another number
		case 4:
			status, _, _, err := c.ask("POST", "/v2/models/"+linear+"/infer", js, []byte(`{"inputs":[{"name":"x","shape":[-1],"datatype":"FP32","data":[1]}]}`))
			b.refused("a shape of -1", status, err, 400)
		default:
			status, _, _, err := c.ask("POST", "/predict", js, []byte(text))
			b.refused(fmt.Sprintf("%.40q", text), status, err, 400, 422)
		}
	case badKeys:
		c.headers = []string{"", "X-API-Key: wrong\r\n", "Authorization: Bearer \r\n", "X-API-Key: " + b.key + "x\r\n"}[draw.IntN(4)]
		path, want := "/predict", []int{401}
		if draw.IntN(3) == 0 {
			path, c.headers, want = "/admin/reload", headers, []int{403}
		}
		status, _, _, err := c.ask("POST", path, js, fine)
		b.refused("a wrong key on "+path, status, err, want...)
	case badRoutes:
		path := []string{"/", "/predict/", "/v1/models/..%2f..%2fetc/predict", "/v1/models/nobody/predict", "/v1/models/" + linear + "/versions/v9.9.9/predict", "/v1/sessions/nobody/act", "/v2/models/nobody/infer"}[draw.IntN(7)]
		status, _, _, err := c.ask([]string{"POST", "PATCH", "GET"}[draw.IntN(3)], path, js, fine)
		b.refused(path, status, err, 200, 307, 400, 404, 405, 422) // GET / leads to a page
	case badFrames:
		text := []string{
			"POST /predict HTTP/1.1\nHost: x\n\n", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 64) + "\r\n\r\n",
			"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 40<<10) + "\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 200) + "\r\n",
		}[draw.IntN(8)]
		b.raw(fmt.Sprintf("%.60q", text), []int{400, 431, 505}, text)
	case badStreams:
		b.badStream(draw)
	case aborted:
		b.abort(draw, load.Request("POST", b.p.addr, "/predict", js, fine))
	case slowHeads:
		b.slowly("POST /predict HTTP/1.1\r\nHost: x\r\n" + headers + "X-Padding: " + strings.Repeat("a", 1000))
	case slowBodies:
		b.slowly("POST /predict HTTP/1.1\r\nHost: x\r\n" + headers + "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat(" ", 900))
	case slowReaders:
		b.neverRead(bytes.Repeat(load.Request("POST", b.p.addr, "/predict", js, []byte(linearBody(make([]float32, 500)...))), 200))
	}
}

// raw sends bytes as they are.
func (b *bad) raw(what string, want []int, text string) {
	status, _, _, err := load.Ask("tcp", b.p.addr, []byte(text), patience)
	b.refused(what, status, err, want...)
}

// dial opens a connection, or returns nil where the server did not take it.
func (b *bad) dial() *net.TCPConn {
	c, err := net.DialTimeout("tcp", b.p.addr, patience)
	if err != nil {
		if b.wronged.Add(1) <= 20 {
			b.p.t.Errorf("dial: %v", err)
		}
		return nil
	}
	return c.(*net.TCPConn)
}

// abort breaks a connection off at any point of a request, or before its answer
// is read, mostly with a reset.
func (b *bad) abort(draw *rand.Rand, request []byte) {
	c := b.dial()
	if c == nil {
		return
	}
	defer c.Close()
	if draw.IntN(3) > 0 {
		_ = c.SetLinger(0)
	}
	_, _ = c.Write(request[:draw.IntN(len(request)+1)])
	time.Sleep(time.Duration(draw.IntN(2000)) * time.Microsecond)
}

// slowly sends a byte every now and then until the server has had enough. What it
// does, it does within its longest time, or the test is stopped.
func (b *bad) slowly(text string) {
	c := b.dial()
	if c == nil {
		return
	}
	defer c.Close()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.Discard, c)
	}()
	for _, x := range []byte(text) {
		if _, err := c.Write([]byte{x}); err != nil {
			return
		}
		select {
		case <-closed:
			return
		case <-b.stop:
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
	if b.wronged.Add(1) <= 20 {
		b.p.t.Errorf("a request of a byte every 200 ms was waited for to its end")
	}
}

// neverRead sends requests and reads no answer until the server closes the
// connection, or for ten seconds.
func (b *bad) neverRead(requests []byte) {
	c := b.dial()
	if c == nil {
		return
	}
	defer c.Close()
	_ = c.SetReadBuffer(4096)
	_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, err := c.Write(requests)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return
	}
	select {
	case <-b.stop:
	case <-time.After(time.Second):
	}
}

// badStream opens a stream and breaks its protocol.
func (b *bad) badStream(draw *rand.Rand) {
	c := b.dial()
	if c == nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = fmt.Fprintf(c, "GET /v1/stream?model=%s HTTP/1.1\r\nHost: %s\r\nX-API-Key: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", linear, b.p.addr, b.key)
	switch draw.IntN(5) {
	case 0:
		_, _ = c.Write([]byte("\x81\x05hello")) // no mask
	case 1:
		_, _ = c.Write([]byte("\x82\xff\x00\x00\x00\x01\x00\x00\x00\x00abcd")) // 4 GiB
	case 2:
		_, _ = c.Write([]byte("\xf1\x80abcd")) // reserved bits
	case 3:
		_, _ = c.Write([]byte("\x01\x85abcdABC")) // half a frame, then nothing
		_ = c.SetLinger(0)
		return
	case 4:
		_, _ = c.Write([]byte("\x81\x82abcd\x1a\x1a")) // {{, which is no JSON: answered, and the stream goes on
		_ = c.CloseWrite()
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		var late net.Error
		if errors.As(err, &late) && late.Timeout() && b.wronged.Add(1) <= 20 {
			b.p.t.Errorf("a stream that breaks the protocol was not closed")
		}
	}
}
