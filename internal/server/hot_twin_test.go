package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
)

// hotTwins are two servers of which one has fasthttp read every request, and
// how many hot requests the other has answered.
type hotTwins struct {
	hot, cold *Server
	answered  uint64
}

func newHotTwins(t testing.TB, o Options) *hotTwins {
	t.Helper()
	hot, err := New(sameBackend{}, o)
	if err != nil {
		t.Fatal(err)
	}
	o.coldOnly = true
	cold, err := New(sameBackend{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return &hotTwins{hot: hot, cold: cold}
}

// pausingConn is a client that sends nothing behind its first bytes before they
// were read.
type pausingConn struct {
	memoryConn
	pause int
}

func (c *pausingConn) Read(p []byte) (int, error) {
	if c.pause > 0 {
		p = p[:min(len(p), c.pause)]
	}
	n, err := c.memoryConn.Read(p)
	c.pause -= n
	return n, err
}

// compare sends the same bytes to both in portions, with a pause where the
// first bytes end, and compares what comes back.
func (h *hotTwins) compare(data []byte, portion, pause int) error {
	var outs [2][]string
	for i, s := range []*Server{h.hot, h.cold} {
		c := &pausingConn{memoryConn: memoryConn{in: bytes.NewReader(data), n: max(1, portion)}, pause: pause}
		g := newGatedConn(c, connAddr(c), s)
		_ = s.http.ServeConn(g) // its error is the client's
		h.answered += g.answered
		outs[i] = answersOf(data, c.out.Bytes())
	}
	if !slices.Equal(outs[0], outs[1]) {
		return fmt.Errorf("%q in portions of %d: answers\n%s\nwant\n%s", data, portion, strings.Join(outs[0], "\n"), strings.Join(outs[1], "\n"))
	}
	return nil
}

var changing = regexp.MustCompile(`("(?:timestamp|timingMs|queue_ms|preprocess_ms|infer_ms|postprocess_ms|age_ms|expires_at)":)[0-9.e+-]+|("(?:request_id|state)":)"[^"]+"|("seed":)[0-9]+`)

// answersOf says what the answers of a connection are, without what is never
// the same twice.
func answersOf(data, out []byte) (list []string) {
	r := bufio.NewReader(bytes.NewReader(out))
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return list
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return list
		}
		if resp.Header.Get("Content-Type") == string(typePack) {
			var json msgpack.ToJSON
			body, _ = json.Append(nil, body)
		}
		var fields []string
		for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
			switch value := strings.Join(resp.Header[name], "|"); name {
			case "Date", "X-Process-Time", "Content-Length":
				fields = append(fields, name)
			case "X-Request-Id":
				if !bytes.Contains(data, []byte(value)) {
					value = "drawn"
				}
				fields = append(fields, name+": "+value)
			default:
				fields = append(fields, name+": "+value)
			}
		}
		list = append(list, fmt.Sprintf("%d close=%v %v %s", resp.StatusCode, resp.Close, fields, changing.ReplaceAllString(string(body), "${1}${2}${3}*")))
	}
}

func message(target, fields, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s", target, fields, len(body), body)
}

// hotMessages are requests on hot routes, of which the first are hot.
func hotMessages() (hot, others []string) {
	const asJSON, asPack, asBytes = "Content-Type: application/json\r\n", "Content-Type: application/msgpack\r\n", "Content-Type: application/octet-stream\r\n"
	one := strings.Replace(strings.Replace(guide, "observations", "observation", 1), "}],", "},", 1)
	one = strings.Replace(one, "[{", "{", 1)
	packed := string(msgpack.AppendFromJSON(nil, []byte(guide)))
	octets := strings.Repeat("\x00", 28)
	infer := `{"inputs":[{"name":"speed","shape":[1],"datatype":"FP32","data":[25.5]},{"name":"steering","shape":[1],"datatype":"FP32","data":[0.1]},{"name":"sensors","shape":[1,5],"datatype":"FP32","data":[0.8,0.2,0.5,0.9,0.1]}]}`
	binary := `{"inputs":[{"name":"speed","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}},{"name":"steering","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}},{"name":"sensors","shape":[1,5],"datatype":"FP32","parameters":{"binary_data_size":20}}],"parameters":{"binary_data_output":true}}`
	hot = []string{
		message("/predict", asJSON, guide),
		message("/v1/models/m/predict", asJSON, guide),
		message("/v1/models/m/versions/v1/predict", asJSON, guide),
		message("/predict?x=1", asJSON, guide),
		message("/predict", asJSON+"X-Request-ID: abc-7\r\nUser-Agent: x/1.0 (a; b)\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: Keep-Alive\r\n", guide),
		message("/predict", "content-type:application/json; charset=utf-8\r\n", guide),
		message("/predict", "X-API-Key: k\r\n"+asJSON, guide),
		message("/predict", "Authorization: Bearer k\r\n"+asJSON, guide),
		message("/predict", "X-API-Key: wrong\r\n"+asJSON, guide),
		message("/predict", asPack, packed),
		message("/predict", asPack, packed[:len(packed)-1]),
		message("/predict?deterministic=true&seed=7", asBytes, octets),
		message("/predict?deterministic=maybe", asBytes, octets),
		message("/predict", asBytes, octets[1:]),
		message("/predict", "", guide),
		message("/predict", "Content-Type: text/plain\r\n", guide),
		message("/predict", asJSON, guide[1:]),
		message("/predict", asJSON, `{"observations":[{}]}`),
		message("/v1/models/other/predict", asJSON, guide),
		message("/v1/models/m/versions/v9/predict", asJSON, guide),
		message("/v1/sessions/robot/act", asJSON, one),
		message("/v1/sessions/robot/act", asPack, string(msgpack.AppendFromJSON(nil, []byte(one)))),
		message("/v1/sessions/nobody/act", asJSON, one),
		message("/v2/models/m/infer", asJSON, infer),
		message("/v2/models/m/infer", "", infer),
		message("/v2/models/m/versions/v1/infer", asJSON, infer),
		message("/v2/models/m/infer", asBytes+fmt.Sprintf("Inference-Header-Content-Length: %d\r\n", len(binary)), binary+octets),
		message("/v2/models/m/infer", asJSON+"Inference-Header-Content-Length: x\r\n", infer),
		message("/v2/models/other/infer", asJSON, infer),
	}
	others = []string{
		"GET /predict HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
		message("/predict", asJSON, ""),
		message("/predict", asJSON+"Origin: https://a\r\n", guide),
		message("/predict", asJSON+"Origin: https://b\r\n", guide),
		message("/predict", asJSON+"Content-Encoding: gzip\r\n", guide),
		message("/predict", asJSON+"Expect: 100-continue\r\n", guide),
		message("/predict", asJSON+"X-Note: \xc3\xa4\r\n", guide),
		message("/predict", asJSON+"X-Note: a\tb\r\n", guide),
		message("/predict", asJSON+asJSON, guide),
		message("/predict", asJSON+"X-Request-ID: a\r\nX-Request-ID: b\r\n", guide),
		message("/predict", asJSON, guide+strings.Repeat(" ", 40<<10)),
		message("http://a/predict", asJSON, guide),
		message("/predict/", asJSON, guide),
		message("//predict", asJSON, guide),
		strings.Replace(message("/predict", asJSON, guide), "Host: a\r\n", "Host: [::1]:80\r\n", 1),
	}
	return hot, others
}

// closingMessages are those behind which nothing is read.
func closingMessages() []string {
	m := message("/predict", "Content-Type: application/json\r\n", guide)
	return []string{
		message("/predict", "Content-Type: application/json\r\nConnection: close\r\n", guide),
		strings.Replace(m, "HTTP/1.1", "HTTP/1.0", 1),
		strings.Replace(m, "Host: a\r\n", "", 1),
		strings.Replace(m, "Host: a\r\n", "Host: a\r\nHost: b\r\n", 1),
		message("/predict", "X-Note: a\x01b\r\n", guide),
		m[:len(m)-1],
		m[:len(m)-len(guide)],
		m[:len(m)-len(guide)-1],
		"POST /predict HTTP/1.1\nHost: a\r\n\r\n",
	}
}

const (
	warming = "POST /v1/sessions HTTP/1.1\r\nHost: a\r\nX-API-Key: k\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n{\"id\":\"robot\",\"seed\":1}"
	last    = "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
)

// TestHotTwins compares the answers to hot requests with those that fasthttp's
// way gives: alone, in a pipeline, and cut anywhere.
func TestHotTwins(t *testing.T) {
	keys, err := NewKeys(PlainKey("k", ScopeInfer))
	if err != nil {
		t.Fatal(err)
	}
	hot, others := hotMessages()
	for name, o := range map[string]Options{
		"open": {}, "guarded": {Keys: keys, AllowedHosts: []string{"a"}, CORSOrigins: []string{"https://a"}}, "elsewhere": {AllowedHosts: []string{"b"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, m := range hot {
				twins := newHotTwins(t, o)
				if err := twins.compare([]byte(warming+m+last), 1<<16, len(warming)); err != nil {
					t.Error(err)
				}
				if twins.answered != 1 {
					t.Errorf("%q: %d hot requests", m, twins.answered)
				}
			}
			twins := newHotTwins(t, o)
			for _, m := range append(others, closingMessages()...) {
				if err := twins.compare([]byte(warming+m), 1<<16, len(warming)); err != nil {
					t.Error(err)
				}
				if twins.answered != 0 {
					t.Fatalf("%q is hot", m)
				}
			}
			all := strings.Join(hot, "") + strings.Join(others, "") + strings.Join(hot, "")
			for _, end := range append(closingMessages(), last) {
				for _, portion := range []int{1, 7, 100, 333, 4096, 1 << 20} {
					twins := newHotTwins(t, o)
					if err := twins.compare([]byte(warming+all+end), portion, len(warming)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}
