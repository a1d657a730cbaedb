//go:build e2e

package chaos_test

import (
	"bufio"
	"crypto/sha256"
	wire "encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/load"
)

// What the tests of reloads serve: a policy whose action is its observation
// times the number of its version, so that an answer tells which one computed
// it, whatever it says.
const linear = "linear"

// linearVersion is the name of version n.
func linearVersion(n int) string { return fmt.Sprintf("v0.%d.0", n) }

// linearModel is the weights of version n.
func linearModel(n int) []byte {
	header := `{"0.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"0.bias":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`
	b := wire.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	b = wire.LittleEndian.AppendUint32(b, math.Float32bits(float32(n)))
	return wire.LittleEndian.AppendUint32(b, 0)
}

// linearCard is its card, with the hash of its weights. A session goes over to
// the version that answers.
func linearCard(n int) []byte {
	sum := sha256.Sum256(linearModel(n))
	return fmt.Appendf(nil, `model_name: linear
version: %s
model_type: pytorch
model_filename: model.safetensors
architecture: [{linear: 0}]
observation: [{name: x, low: -10, high: 10}]
action: [{name: y}]
postprocess: none
on_version_change: reset
artifact_hashes: {model.safetensors: "sha256:%s"}
`, linearVersion(n), hex.EncodeToString(sum[:]))
}

// putLinear puts version n into a root, at once: it is made beside it.
func putLinear(t testing.TB, root string, n int) {
	t.Helper()
	part := filepath.Join(filepath.Dir(root), fmt.Sprintf("part-%d", n))
	if err := os.MkdirAll(part, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"model.safetensors": linearModel(n), "model_card.yaml": linearCard(n)} {
		if err := os.WriteFile(filepath.Join(part, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(part, filepath.Join(root, linearVersion(n))); err != nil {
		t.Fatal(err)
	}
}

// linearRoot is a root with the first versions.
func linearRoot(t testing.TB, versions int) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for n := range versions {
		putLinear(t, root, n+1)
	}
	return root
}

// factorOf is the number that a version multiplies by.
func factorOf(version string) (float32, error) {
	var n int
	if _, err := fmt.Sscanf(version, "v0.%d.0", &n); err != nil || version != linearVersion(n) {
		return 0, fmt.Errorf("an answer of version %q", version)
	}
	return float32(n), nil
}

// sameVersion holds the actions to those of the version that the answer names.
func sameVersion(version string, observations, actions []float32) error {
	factor, err := factorOf(version)
	if err != nil {
		return err
	}
	if len(actions) != len(observations) {
		return fmt.Errorf("%d actions for %d observations", len(actions), len(observations))
	}
	for i, x := range observations {
		if want := factor * x; actions[i] != want {
			return fmt.Errorf("row %d of %s: %v for %v, want %v: another version computed it", i, version, actions[i], x, want)
		}
	}
	return nil
}

// linearAnswer is what matters of an answer to /predict.
type linearAnswer struct {
	Version string
	Actions []struct{ Y float32 }
}

// checkLinear holds an answer to the observations that it is for.
func checkLinear(body []byte, observations []float32) (version string, err error) {
	var a linearAnswer
	if err := json.Unmarshal(body, &a, json.MatchCaseInsensitiveNames(true)); err != nil {
		return "", fmt.Errorf("%w: %s", err, body)
	}
	actions := make([]float32, len(a.Actions))
	for i := range actions {
		actions[i] = a.Actions[i].Y
	}
	return a.Version, sameVersion(a.Version, observations, actions)
}

// linearBody is a request for actions of rows.
func linearBody(observations ...float32) string {
	var b strings.Builder
	b.WriteString(`{"observations":[`)
	for i, x := range observations {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"x":%v}`, x)
	}
	b.WriteString(`]}`)
	return b.String()
}

// caller is a client with one connection, which it opens when it needs it.
type caller struct {
	addr    string
	headers string // of each request, each with its end
	conn    net.Conn
	in      *bufio.Reader
}

// patience is how long a good client waits for an answer: a machine may be busy.
const patience = 30 * time.Second

// errClosed says that the server had closed the connection before it saw any of
// the request, which a client may therefore send again.
var errClosed = errors.New("the connection was closed before the request")

// ask sends a request and returns the whole answer. A connection that broke is
// not used again.
func (c *caller) ask(method, path, media string, body []byte) (status int, head http.Header, answer []byte, err error) {
	fresh := c.conn == nil
	if fresh {
		if c.conn, err = net.DialTimeout("tcp", c.addr, patience); err != nil {
			c.conn = nil
			return 0, nil, nil, err
		}
		c.in = bufio.NewReader(c.conn)
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, nil, nil, err
	}
	request := load.Request(method, c.addr, path, media, body)
	if c.headers != "" {
		line := strings.Index(string(request), "\r\n") + 2
		request = append(append(append([]byte{}, request[:line]...), c.headers...), request[line:]...)
	}
	if _, err := c.conn.Write(request); err != nil {
		return 0, nil, nil, err
	}
	if _, err := c.in.Peek(1); err != nil {
		if !fresh && errors.Is(err, io.EOF) {
			return 0, nil, nil, errClosed
		}
		return 0, nil, nil, err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil, nil, err
	}
	if resp.Close {
		c.close()
	}
	return resp.StatusCode, resp.Header, answer, nil
}

func (c *caller) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
