//go:build e2e

package attack_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// object is one of the description of the API.
type object = map[string]any

// description is what the server says of itself in /openapi.json.
type description struct {
	doc object
	ops []operation
}

type operation struct {
	method, path string
	parameters   []object
	body         object          // schema of the body in JSON; nil where there is none
	responses    map[string]bool // statuses
}

func (p *process) describe(header ...string) *description {
	p.t.Helper()
	got, _ := p.answers(p.request("GET", "/openapi.json", "", append(header, "Connection", "close")...), 30*time.Second)
	if len(got) != 1 || got[0].status != 200 {
		p.t.Fatalf("/openapi.json: %.300v", got)
	}
	d := &description{}
	if err := json.Unmarshal([]byte(got[0].body), &d.doc); err != nil {
		p.t.Fatal(err)
	}
	for _, path := range slices.Sorted(maps.Keys(d.doc["paths"].(object))) {
		item := d.doc["paths"].(object)[path].(object)
		for _, method := range slices.Sorted(maps.Keys(item)) {
			if method == "parameters" {
				continue
			}
			o := item[method].(object)
			op := operation{method: strings.ToUpper(method), path: path, responses: map[string]bool{}}
			for status := range o["responses"].(object) {
				op.responses[status] = true
			}
			for _, list := range []any{item["parameters"], o["parameters"]} {
				if l, ok := list.([]any); ok {
					for _, one := range l {
						op.parameters = append(op.parameters, one.(object))
					}
				}
			}
			if b, ok := o["requestBody"].(object); ok {
				op.body = b["content"].(object)["application/json"].(object)["schema"].(object)
			}
			d.ops = append(d.ops, op)
		}
	}
	return d
}

// generator makes requests of a description: mostly such as it says, with one
// thing or a few wrong.
type generator struct {
	*rand.Rand
	d        *description
	sessions []string // that were opened
	keys     []string
	depth    int
}

func pick[T any](g *generator, list []T) T { return list[g.IntN(len(list))] }

var oddities = []any{
	nil, true, false, 0, -1, 1, 0.5, 1e308, -1e308, 1e-320, 9007199254740993.0, 18446744073709551615.0, "", "a", "null", "v0.1.0", "../../etc/passwd", "\x00", "ü", strings.Repeat("a", 300),
	[]any{}, []any{nil}, []any{1.5}, object{}, object{"a": nil}, []any{[]any{[]any{}}},
}

var oddNames = []string{
	"carla-ppo", "carla-ppo", "v0.1.0", "latest", "..", "../..", "%2e%2e%2f", "..%5c", "a%00b", "%00", strings.Repeat("a", 64), strings.Repeat("a", 300), "etc/passwd", "%ff", "\u0441arla-ppo", "CARLA-PPO", "a..b", ".a", "-a", "a b", "a?b", "a#b", "{model}", "%7Bmodel%7D", "",
}

// value makes one of a schema; wrong is how often something is not as it says.
func (g *generator) value(s any, wrong float64) any {
	schema, ok := s.(object)
	if !ok || g.depth > 12 || g.Float64() < wrong/4 {
		return pick(g, oddities)
	}
	g.depth++
	defer func() { g.depth-- }()
	if ref, ok := schema["$ref"].(string); ok {
		return g.value(g.d.doc["components"].(object)["schemas"].(object)[ref[strings.LastIndex(ref, "/")+1:]], wrong)
	}
	for _, any_ := range []string{"anyOf", "oneOf"} {
		if list, ok := schema[any_].([]any); ok && schema["properties"] == nil {
			return g.value(pick(g, list), wrong)
		}
	}
	if v, ok := schema["const"]; ok {
		return v
	}
	if list, ok := schema["enum"].([]any); ok {
		return pick(g, list)
	}
	kind := ""
	switch t := schema["type"].(type) {
	case string:
		kind = t
	case []any:
		kind, _ = pick(g, t).(string)
	}
	if kind == "" && schema["properties"] != nil {
		kind = "object"
	}
	number := func(key string, other float64) float64 {
		if v, ok := schema[key].(float64); ok {
			return v
		}
		return other
	}
	switch kind {
	case "object":
		return g.object(schema, wrong)
	case "array":
		least, most := number("minItems", 0), number("maxItems", 4)
		n := int(least) + g.IntN(max(1, min(int(most-least)+1, 5)))
		if g.Float64() < wrong {
			n = g.IntN(12)
		}
		list := make([]any, n)
		for i := range list {
			list[i] = g.value(schema["items"], wrong)
		}
		return list
	case "number", "integer":
		low, high := number("minimum", number("exclusiveMinimum", -10)), number("maximum", number("exclusiveMaximum", 1000))
		if g.Float64() < wrong {
			low, high = low-1000, high+1000
		}
		v := low + g.Float64()*(high-low)
		if kind == "integer" {
			return float64(int64(v))
		}
		return v
	case "boolean":
		return g.IntN(2) == 0
	case "string":
		if schema["pattern"] != nil || g.IntN(2) == 0 {
			return pick(g, oddNames)
		}
		return strconv.Itoa(g.IntN(1000))
	case "null":
		return nil
	}
	return pick(g, oddities)
}

func (g *generator) object(schema object, wrong float64) any {
	out := object{}
	required := map[string]bool{}
	mark := func(list any) {
		if l, ok := list.([]any); ok {
			for _, name := range l {
				required[name.(string)] = true
			}
		}
	}
	mark(schema["required"])
	if one, ok := schema["oneOf"].([]any); ok {
		if o, ok := pick(g, one).(object); ok {
			mark(o["required"])
		}
	}
	if properties, ok := schema["properties"].(object); ok {
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			if required[name] && g.Float64() >= wrong/4 || g.IntN(12) == 0 {
				out[name] = g.value(properties[name], wrong)
			}
		}
	}
	if g.Float64() < wrong/4 {
		out[pick(g, []string{"extra", "", "Observations", "__proto__", "model"})] = pick(g, oddities)
	}
	return out
}

// request makes one of an operation.
func (g *generator) request(p *process, op operation) []byte {
	wrong := pick(g, []float64{0, 0, 0.1, 0.5})
	path, query := op.path, url.Values{}
	for _, parameter := range op.parameters {
		name, _ := parameter["name"].(string)
		value := pick(g, oddNames)
		switch {
		case name == "id" && len(g.sessions) > 0 && g.IntN(3) > 0:
			value = pick(g, g.sessions)
		case name == "model" && g.Float64() >= wrong:
			value = "carla-ppo"
		case name == "version" && g.Float64() >= wrong:
			value = "v0.1.0"
		}
		switch parameter["in"] {
		case "path":
			if strings.ContainsAny(value, " #\x00") || value == "" || !ascii(value) {
				value = url.PathEscape(value)
			}
			path = strings.ReplaceAll(path, "{"+name+"}", value)
		case "query":
			if g.IntN(10) == 0 {
				text, _ := json.Marshal(pick(g, oddities))
				query.Set(name, string(text))
			}
		}
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	var header []string
	if g.IntN(10) > 0 {
		header = append(header, "X-API-Key", pick(g, g.keys))
	}
	if g.IntN(50) == 0 {
		header = append(header, "Content-Type", pick(g, []string{"text/plain", "application/json; charset=latin1", "application/msgpack", "application/octet-stream"}))
	}
	body := ""
	if op.body != nil && g.IntN(30) > 0 {
		text, err := json.Marshal(g.value(op.body, wrong), json.Deterministic(true))
		if err == nil {
			body = string(text)
		}
		if g.IntN(30) == 0 && len(body) > 0 {
			body = body[:g.IntN(len(body))]
		}
		if g.IntN(100) == 0 {
			body = strings.Replace(body, "1", "1e999", 1)
		}
	}
	return p.request(op.method, path, body, header...)
}

func ascii(s string) bool {
	for _, c := range []byte(s) {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// TestAPI (H1, H9) makes requests of the server's own description, of names that
// are none, and of the sessions that they open: no answer is a 5xx, none has a
// status that the description does not know for it, and each error has the form of
// errors.
func TestAPI(t *testing.T) {
	ledger.Begin(t)
	dir := t.TempDir()
	admin := "an-admin-key-of-this-test"
	if err := os.WriteFile(filepath.Join(dir, "admin"), []byte(admin+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := serve(t, "API_KEY=a-key-of-this-test", "CARLA_RL_ADMIN_KEY_FILE="+filepath.Join(dir, "admin"))
	p.secrets = append(p.secrets, admin)
	d := p.describe("X-API-Key", admin)
	n := ledger.Size(3000, 200_000)
	const clients = 4
	var mu sync.Mutex
	statuses, perOp, bad := map[int]int{}, map[string]int{}, 0
	var wg sync.WaitGroup
	for k := range clients {
		wg.Go(func() {
			g := &generator{Rand: rand.New(rand.NewPCG(uint64(k), 1)), d: d, keys: []string{admin, admin, "a-key-of-this-test", "wrong"}}
			var c net.Conn
			var r *bufio.Reader
			for i := range n / clients {
				op := d.ops[(i*clients+k)%len(d.ops)]
				message := g.request(p, op)
				resp, body, err := exchange(p, &c, &r, message)
				mu.Lock()
				switch {
				case err != nil:
					bad++
					t.Errorf("%s %s: %v\n%.300q", op.method, op.path, err, message)
				default:
					statuses[resp.StatusCode]++
					perOp[op.method+" "+op.path]++
					if why := d.judge(op, message, resp, body); why != "" {
						bad++
						t.Errorf("%s: %d %.300s\n%.600q", why, resp.StatusCode, body, message)
					}
				}
				stop := bad > 10
				mu.Unlock()
				if stop {
					return
				}
				if resp != nil && resp.StatusCode == http.StatusCreated {
					var s struct {
						ID string `json:"session_id"`
					}
					if json.Unmarshal(body, &s) == nil && s.ID != "" {
						if g.sessions = append(g.sessions, s.ID); len(g.sessions) > 20 {
							g.sessions = g.sessions[1:]
						}
					}
				}
			}
			if c != nil {
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	if statuses[200] < n/20 || len(perOp) != len(d.ops) {
		t.Errorf("%d operations of %d were tried: %v", len(perOp), len(d.ops), statuses)
	}
	if panics := p.metric("carla_rl_panics_total"); panics > 0 {
		t.Errorf("%.0f panics", panics)
	}
	ledger.Add(t, ledger.Row{
		ID: "H1", Test: "requests generated from the API's description", Inputs: ledger.N(n, "requests of %d operations", len(d.ops)), Lost: ledger.Nothing,
		Figures: []string{fmt.Sprintf("0 answers of 5xx but for %d 504 to deadlines that had passed when they came", statuses[http.StatusGatewayTimeout]), "0 undocumented statuses", fmt.Sprintf("answers by status: %v", statuses)},
	})
}

// exchange sends a message on a connection, which is opened where there is none.
func exchange(p *process, c *net.Conn, r **bufio.Reader, message []byte) (*http.Response, []byte, error) {
	var last error
	for range 2 { // a connection may have been closed since
		if *c == nil {
			conn, err := p.dial()
			if err != nil {
				return nil, nil, err
			}
			*c, *r = conn, bufio.NewReader(conn)
		}
		_ = (*c).SetDeadline(time.Now().Add(time.Minute))
		_, err := (*c).Write(message)
		if err == nil {
			var resp *http.Response
			method, _, _ := strings.Cut(string(message), " ")
			if resp, err = http.ReadResponse(*r, &http.Request{Method: method}); err == nil {
				body, e := io.ReadAll(resp.Body)
				if resp.Close || e != nil {
					_ = (*c).Close()
					*c = nil
				}
				return resp, body, e
			}
		}
		last = err
		_ = (*c).Close()
		*c = nil
	}
	return nil, nil, last
}

// judge tells what is wrong with an answer, "" where nothing is.
func (d *description) judge(op operation, message []byte, resp *http.Response, body []byte) string {
	status := resp.StatusCode
	// A deadline that has passed when the request is read is the client's own.
	late := status == http.StatusGatewayTimeout && strings.Contains(string(message), "deadline_ms") && strings.Contains(string(body), "DEADLINE_EXCEEDED")
	if status >= 500 && !late {
		return "a 5xx"
	}
	// A name that makes the path another route is answered as that one is.
	_, rest, _ := strings.Cut(string(message), " ")
	target, _, _ := strings.Cut(rest, " ")
	target, _, _ = strings.Cut(target, "?")
	moved := strings.Count(target, "/") != strings.Count(op.path, "/") || strings.Contains(target, "//") || strings.HasSuffix(target, "/")
	if !op.responses[strconv.Itoa(status)] && !(moved && (status == 404 || status == 405)) {
		return "a status that is not documented"
	}
	if status < 400 || op.method == http.MethodHead {
		return ""
	}
	var e object
	if err := json.Unmarshal(body, &e); err != nil {
		return "an error that is no JSON"
	}
	if _, ok := e["error"].(string); !ok {
		return "an error without its code"
	}
	if strings.HasPrefix(op.path, "/v2") || strings.HasPrefix(target, "/v2") {
		return ""
	}
	details, _ := e["details"].(object)
	if e["message"] == nil || e["timestamp"] == nil || details["request_id"] == nil {
		return "an error without its members"
	}
	return ""
}
