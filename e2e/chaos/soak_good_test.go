//go:build e2e

package chaos_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// good is clients that ask as they should, in every form that there is. Each
// answer is recomputed; none may fail.
type good struct {
	p        *process
	key      string
	interval time.Duration // of one client, between two requests; 0 asks at once
	stop     chan struct{}
	clients  sync.WaitGroup

	answered [kinds]atomic.Int64
	again    atomic.Int64 // sent again, on a connection that the server had closed before
	failed   atomic.Int64
	versions sync.Map
}

// The forms of good requests.
const (
	kindSingle = iota
	kindBatch
	kindPack
	kindInfer
	kindStream
	kindSession

	kinds
)

var kindNames = [kinds]string{"single", "batch", "MessagePack", "Open Inference", "stream", "session"}

// goodClients is how many ask in each form.
var goodClients = [kinds]int{kindSingle: 8, kindBatch: 3, kindPack: 3, kindInfer: 3, kindStream: 5, kindSession: 2}

// everyone begins the clients, of which all together ask rate times a second;
// as often as they can where it is 0.
func (p *process) everyone(key string, rate float64) *good {
	g := &good{p: p, key: key, stop: make(chan struct{})}
	all := 0
	for _, n := range goodClients {
		all += n
	}
	if rate > 0 {
		g.interval = time.Duration(float64(all) / rate * float64(time.Second))
	}
	for kind, n := range goodClients {
		for i := range n {
			g.clients.Go(func() { g.client(kind, uint64(i)) })
		}
	}
	return g
}

// end stops the clients and returns how many answers there were.
func (g *good) end() int64 {
	close(g.stop)
	g.clients.Wait()
	return g.sum()
}

func (g *good) sum() (n int64) {
	for i := range g.answered {
		n += g.answered[i].Load()
	}
	return n
}

// client asks in one form until it is told to stop. What goes wrong is told, and
// the client begins anew.
func (g *good) client(kind int, seed uint64) {
	draw := rand.New(rand.NewPCG(seed, uint64(kind)))
	c := &caller{addr: g.p.addr, headers: "X-API-Key: " + g.key + "\r\n"}
	defer c.close()
	next := time.Now().Add(time.Duration(draw.Int64N(int64(g.interval) + 1)))
	turn := func() bool {
		if g.interval > 0 {
			if next = next.Add(g.interval); time.Since(next) > time.Second {
				next = time.Now() // The machine was busy: what was missed is not made up for.
			}
		}
		select {
		case <-g.stop:
			return false
		case <-time.After(time.Until(next)):
			return true
		}
	}
	for turn() {
		var err error
		switch kind {
		case kindStream:
			err = g.stream(draw, turn)
		case kindSession:
			err = g.session(c, draw, turn)
		default:
			err = g.request(c, kind, draw)
		}
		if err != nil {
			c.close()
			if g.failed.Add(1) <= 20 { // Enough to see what is wrong.
				g.p.t.Errorf("a good request (%s): %v", kindNames[kind], err)
			}
		}
	}
}

// checked counts an answer that is as it should be.
func (g *good) checked(kind int, version string, err error) error {
	if err == nil {
		g.versions.Store(version, true)
		g.answered[kind].Add(1)
	}
	return err
}

// ask is caller.ask, once more where the connection was closed before.
func (g *good) ask(c *caller, method, path, media string, body []byte) (status int, head http.Header, answer []byte, err error) {
	if status, head, answer, err = c.ask(method, path, media, body); errors.Is(err, errClosed) {
		g.again.Add(1)
		status, head, answer, err = c.ask(method, path, media, body)
	}
	return status, head, answer, err
}

func values(draw *rand.Rand, n int) []float32 {
	rows := make([]float32, n)
	for i := range rows {
		rows[i] = draw.Float32()*20 - 10
	}
	return rows
}

func (g *good) request(c *caller, kind int, draw *rand.Rand) error {
	rows := values(draw, 1)
	if kind == kindBatch || kind == kindInfer && draw.IntN(2) == 0 {
		rows = values(draw, 2+draw.IntN(31))
	}
	path, media, body := "/predict", "application/json", []byte(linearBody(rows...))
	switch kind {
	case kindPack:
		media, body = "application/msgpack", msgpack.AppendFromJSON(nil, body)
	case kindInfer:
		path = "/v2/models/" + linear + "/infer"
		var data strings.Builder
		for i, x := range rows {
			if i > 0 {
				data.WriteByte(',')
			}
			fmt.Fprint(&data, x)
		}
		body = fmt.Appendf(nil, `{"inputs":[{"name":"x","shape":[%d],"datatype":"FP32","data":[%s]}]}`, len(rows), data.String())
	}
	status, _, answer, err := g.ask(c, "POST", path, media, body)
	if err != nil || status != 200 {
		return fmt.Errorf("status %d, %w: %s", status, err, answer)
	}
	var version string
	switch kind {
	case kindInfer:
		version, err = checkInfer(answer, rows)
	case kindPack:
		var text msgpack.ToJSON
		unpacked, ok := text.Append(nil, answer)
		if !ok {
			return fmt.Errorf("no MessagePack: %q", answer)
		}
		version, err = checkLinear(unpacked, rows)
	default:
		version, err = checkLinear(answer, rows)
	}
	return g.checked(kind, version, err)
}

// checkInfer is checkLinear for the Open Inference Protocol.
func checkInfer(body []byte, observations []float32) (version string, err error) {
	var a struct {
		Version string `json:"model_version"`
		Outputs []struct {
			Name string    `json:"name"`
			Data []float32 `json:"data"`
		} `json:"outputs"`
	}
	if err := json.Unmarshal(body, &a); err != nil || len(a.Outputs) != 1 {
		return "", fmt.Errorf("%w: %s", err, body)
	}
	return a.Version, sameVersion(a.Version, observations, a.Outputs[0].Data)
}

// session opens a session, acts in it and closes it.
func (g *good) session(c *caller, draw *rand.Rand, turn func() bool) error {
	status, _, body, err := g.ask(c, "POST", "/v1/sessions", "application/json", []byte(`{"ttl_s":120}`))
	var opened struct {
		ID string `json:"session_id"`
	}
	if err == nil && status == 201 {
		err = json.Unmarshal(body, &opened)
	}
	if err != nil || opened.ID == "" {
		return fmt.Errorf("open: %d, %w: %s", status, err, body)
	}
	path := "/v1/sessions/" + opened.ID
	for step := 0; step < 30 && turn(); step++ {
		x := values(draw, 1)
		status, _, body, err := g.ask(c, "POST", path+"/act", "application/json", fmt.Appendf(nil, `{"observation":{"x":%v},"step":%d}`, x[0], step))
		if err != nil || status != 200 {
			return fmt.Errorf("act %d: %d, %w: %s", step, status, err, body)
		}
		version, err := checkLinear(body, x)
		if err := g.checked(kindSession, version, err); err != nil {
			return err
		}
		if strings.Contains(string(body), `"reset":"version"`) {
			break // The session went over to another version, with other steps.
		}
	}
	if status, _, body, err := g.ask(c, "DELETE", path, "", nil); err != nil || status != 204 {
		return fmt.Errorf("close: %d, %w: %s", status, err, body)
	}
	return nil
}

// stream opens a stream, sends some hundred observations and closes it.
func (g *good) stream(draw *rand.Rand, turn func() bool) error {
	w, err := openStream(g.p.addr, linear, g.key)
	if err != nil {
		return err
	}
	defer w.Close(websocket.CloseNormal, "")
	for n := 0; n < 500 && turn(); n++ {
		x := values(draw, 1)
		if err := w.Write(websocket.Text, fmt.Appendf(w.Frame(), `{"seq":%d,"observation":{"x":%v}}`, n, x[0])); err != nil {
			return fmt.Errorf("message %d: %w", n, err)
		}
		m, err := w.Read()
		if err != nil {
			return fmt.Errorf("message %d: %w", n, err)
		}
		version, err := checkLinear(m.Payload, x)
		if err == nil && !strings.Contains(string(m.Payload), `"seq":`+strconv.Itoa(n)) {
			err = fmt.Errorf("the answer to message %d is %s", n, m.Payload)
		}
		if err := g.checked(kindStream, version, err); err != nil {
			return err
		}
	}
	return nil
}

// openStream upgrades a connection to a stream.
func openStream(addr, model, key string) (*websocket.Conn, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	if key != "" {
		key = "X-API-Key: " + key + "\r\n"
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if _, err := fmt.Fprintf(c, "GET /v1/stream?model=%s HTTP/1.1\r\nHost: %s\r\n%sConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", model, addr, key); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 4096), nil)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, errors.Join(fmt.Errorf("the upgrade was answered %s", resp.Status), c.Close())
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return websocket.New(c, websocket.Options{Client: true}), nil
}
