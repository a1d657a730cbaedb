//go:build e2e

package chaos_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/bench/onnxmodel"
	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// reloadMax is how long a reload of a spoilt version may take: nothing in it may
// hold the server up, neither a pipe nor a file of 10 GB.
const reloadMax = 20 * time.Second

// spoiler puts spoilt versions beside a good one and has the server look.
type spoiler struct {
	t     *testing.T
	p     *process
	admin *caller
	root  string

	longest  time.Duration
	accepted int // that were not spoilt enough to be another thing
}

// try has the server look at version 2 as prepare made it. file is what the
// reason of its refusal has to name; "" lets the version be served, too, if it is
// what it says.
func (s *spoiler) try(what, file string, prepare func(dir string)) {
	s.t.Helper()
	dir := filepath.Join(s.root, linearVersion(2))
	part := filepath.Join(filepath.Dir(s.root), "part")
	for tries := 0; ; tries++ { // Somebody may be writing into it.
		if err := os.RemoveAll(dir); err == nil {
			break
		} else if tries > 1000 {
			s.t.Fatal(err)
		}
	}
	if err := os.MkdirAll(part, 0o755); err != nil {
		s.t.Fatal(err)
	}
	prepare(part)
	if err := os.Rename(part, dir); err != nil {
		s.t.Fatal(err)
	}
	begun := time.Now()
	status, body, err := s.admin.act("reload")
	took := time.Since(begun)
	if s.longest = max(s.longest, took); took > reloadMax {
		s.t.Errorf("%s: the reload took %v", what, took)
	}
	if err != nil || status != 200 {
		s.t.Fatalf("%s: %d %v %s", what, status, err, body)
	}
	var r struct {
		Models []struct {
			Version string
			Refused []struct{ Version, Reason string }
		}
	}
	if err := json.Unmarshal([]byte(body), &r, json.MatchCaseInsensitiveNames(true)); err != nil || len(r.Models) != 1 {
		s.t.Fatalf("%s: %v %s", what, err, body)
	}
	answers := s.p.answers()
	m := r.Models[0]
	switch {
	case answers != m.Version:
		s.t.Errorf("%s: %s answers, and the reload says %s", what, answers, body)
	case file == "" && m.Version == linearVersion(2):
		s.accepted++
	case m.Version != linearVersion(1):
		s.t.Errorf("%s: %s", what, body)
	case len(m.Refused) != 1 || m.Refused[0].Version != linearVersion(2) || !strings.Contains(m.Refused[0].Reason, file) || strings.Contains(body, s.root):
		s.t.Errorf("%s: refused without a reason that names %s: %s", what, file, body)
	}
}

// put writes the files of a version.
func (s *spoiler) put(dir string, files map[string][]byte) {
	s.t.Helper()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
}

// onnxLinear is version n as ONNX, with its card; hashed or not.
func onnxLinear(n int, hashed bool) (card, model []byte) {
	m := onnxmodel.New(linear)
	x := m.Input("x", onnxmodel.Float, onnxmodel.Batch, 1)
	m.Output(m.Dense(x, "y", 1, 1), onnxmodel.Float)
	model = m.Bytes()
	card = fmt.Appendf(nil, "model_name: linear\nversion: %s\nmodel_type: onnx\nmodel_filename: model.onnx\nobservation: [{name: x, low: -10, high: 10}]\naction: [{name: y}]\npostprocess: none\n", linearVersion(n))
	if hashed {
		card = fmt.Appendf(card, "artifact_hashes: {model.onnx: \"sha256:%x\"}\n", sha256.Sum256(model))
	}
	return card, model
}

// TestSpoiltFiles (A2): versions that are cut off, have bits flipped, are changed
// while they are read, or are no files at all, while clients ask. Each is refused
// with a reason that names the file, and the version before answers all along.
func TestSpoiltFiles(t *testing.T) {
	ledger.Begin(t)
	cuts, flips := ledger.Size(20, 200), ledger.Size(50, 1000)
	root := linearRoot(t, 1)
	p := serveRoot(t, binary, root, "CARLA_RL_ADMIN_KEY="+adminKey, "CARLA_RL_POLL_INTERVAL=0", "CARLA_RL_REQUEST_TIMEOUT=20s")
	p.ready(linear, `{"observations":[{"x":1}]}`)
	g := p.goodTraffic(2)
	g.during("before", func() { time.Sleep(time.Second) })
	s := &spoiler{t: t, p: p, admin: p.admin(), root: root}
	defer s.admin.close()
	draw := rand.New(rand.NewPCG(2, 2))
	others := 0
	answered, took := g.during("while files are spoilt", func() {
		// Cut off: of both formats, without a hash that would tell.
		bare, _, _ := bytes.Cut(linearCard(2), []byte("artifact_hashes"))
		onnxCard, onnxModel := onnxLinear(2, false)
		for i := range cuts {
			if i%2 == 0 {
				n := draw.IntN(len(linearModel(2)))
				s.try(fmt.Sprintf("safetensors cut at %d", n), "model.safetensors", func(dir string) {
					s.put(dir, map[string][]byte{"model_card.yaml": bare, "model.safetensors": linearModel(2)[:n]})
				})
			} else {
				n := draw.IntN(len(onnxModel))
				s.try(fmt.Sprintf("ONNX cut at %d", n), "model.onnx", func(dir string) {
					s.put(dir, map[string][]byte{"model_card.yaml": onnxCard, "model.onnx": onnxModel[:n]})
				})
			}
		}
		// One bit, of files whose card has their hash.
		onnxCard, _ = onnxLinear(2, true)
		for i := range flips {
			card, name, model := linearCard(2), "model.safetensors", linearModel(2)
			if i%2 == 1 {
				card, name, model = onnxCard, "model.onnx", bytes.Clone(onnxModel)
			}
			at, bit := draw.IntN(len(model)), draw.IntN(8)
			model[at] ^= 1 << bit
			s.try(fmt.Sprintf("%s with bit %d of byte %d flipped", name, bit, at), name, func(dir string) {
				s.put(dir, map[string][]byte{"model_card.yaml": card, name: model})
			})
		}
		others = s.noFiles(draw)
	})
	g.during("after", func() { time.Sleep(time.Second) })
	total, _ := g.end()
	if text := p.everything(); strings.Contains(text, "panic") {
		t.Errorf("the server said:\n%s", p.said())
	}
	ledger.Add(t, ledger.Row{
		ID: "A2", Test: "versions cut off, with a bit flipped, changed while they are read, or no files", Load: fmt.Sprintf("%.0f requests/s, each answer recomputed", float64(answered)/took.Seconds()),
		Faults: ledger.N(cuts+flips+others, "spoilt versions: %d cut at random, %d with a bit flipped, %d others", cuts, flips, others), Lost: ledger.Nothing,
		Figures: []string{fmt.Sprintf("longest reload %v", s.longest.Round(time.Millisecond)), ledger.Thousands(total) + " answers, none of a spoilt version"},
	})
}

// noFiles tries what is not the content of a file, and returns how many.
func (s *spoiler) noFiles(draw *rand.Rand) (n int) {
	const name = "model.safetensors"
	try := func(what, file string, prepare func(dir, model string)) {
		n++
		s.try(what, file, func(dir string) {
			s.put(dir, map[string][]byte{"model_card.yaml": linearCard(2)})
			prepare(dir, filepath.Join(dir, name))
		})
	}
	must := func(err error) {
		if err != nil {
			s.t.Fatal(err)
		}
	}
	try("no file", name, func(string, string) {})
	try("an empty file", name, func(_, model string) { must(os.WriteFile(model, nil, 0o644)) })
	try("a folder", name, func(_, model string) { must(os.Mkdir(model, 0o755)) })
	try("a pipe", name, func(_, model string) { must(syscall.Mkfifo(model, 0o644)) })
	try("10 GB of nothing", name, func(_, model string) {
		must(os.WriteFile(model, nil, 0o644))
		must(os.Truncate(model, 10_000_000_000))
	})
	try("a link to nothing", name, func(_, model string) { must(os.Symlink("nowhere", model)) })
	try("a link to itself", name, func(_, model string) { must(os.Symlink(name, model)) })
	try("a link out of the root", name, func(_, model string) { must(os.Symlink("/etc/hostname", model)) })
	try("a link to a device", name, func(_, model string) { must(os.Symlink("/dev/zero", model)) })
	try("an empty card", "", func(dir, model string) {
		must(os.WriteFile(model, linearModel(2), 0o644))
		must(os.WriteFile(filepath.Join(dir, "model_card.yaml"), nil, 0o644))
	})
	for range 20 {
		at := draw.IntN(len(linearCard(2)))
		try(fmt.Sprintf("a card cut at %d", at), "", func(dir, model string) {
			must(os.WriteFile(model, linearModel(2), 0o644))
			must(os.WriteFile(filepath.Join(dir, "model_card.yaml"), linearCard(2)[:at], 0o644))
		})
	}
	// Changed while it is read: between what the card has the hash of, and another.
	stop, done := make(chan struct{}), make(chan struct{})
	model := filepath.Join(s.root, linearVersion(2), name)
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			part := model + ".part" // The folder may not be there just now.
			if os.WriteFile(part, linearModel(2+i%2), 0o644) == nil {
				_ = os.Rename(part, model)
			}
			time.Sleep(100 * time.Microsecond)
		}
	}()
	for range 50 {
		try("a file that is changed all the time", "", func(_, model string) { must(os.WriteFile(model, linearModel(3), 0o644)) })
	}
	close(stop)
	<-done
	return n
}
