package format_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/format"
)

// What a hostile file may cost. It takes milliseconds; what grows with what a file
// claims would take minutes, and a busy machine may hold up either for a second.
const (
	hostileSeconds = 10
	hostileBytes   = 64 << 20
)

// hostileKinds are the folders of the corpus with model files, and the valid
// file that each is a twin of.
var hostileKinds = map[string]string{
	"torchscript/": "torch/carla_mlp/model_trace.pt",
	"torch/":       "torch/carla_mlp/state_dict.pth",
	"zip/":         "torch/carla_mlp/state_dict.pth",
	"safetensors/": "torch/carla_mlp/model.safetensors",
	"pt2/":         "torch/carla_mlp/model.pt2",
	"onnx/":        "torch/carla_mlp/model.onnx",
}

// open decodes a file and lowers it, as far as it comes.
func open(data []byte) (format.Network, error) {
	n, err := format.Decode("", data)
	if err != nil {
		return nil, err
	}
	if n.Describe().WeightsOnly {
		return n, nil
	}
	_, err = n.Lower(format.LowerOptions{Deterministic: true})
	return n, err
}

// TestHostile opens every hostile model file of the large corpus: each is
// refused, in time and memory that are bounded, and its valid twin opens.
func TestHostile(t *testing.T) {
	root := corpusRoot(t, "hostile files")
	if root == "" {
		return
	}
	data, err := os.ReadFile(filepath.Join(root, "hostile", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Items []struct{ Path, Kind, Expect, Must string }
	}
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, it := range index.Items {
		for prefix, twin := range hostileKinds {
			if !strings.HasPrefix(it.Path, prefix) {
				continue
			}
			ran++
			t.Run(it.Path, func(t *testing.T) {
				valid, err := os.ReadFile(filepath.Join(root, twin))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := open(valid); err != nil {
					t.Fatalf("the valid twin: %v", err)
				}
				hostile, err := os.ReadFile(filepath.Join(root, "hostile", it.Path))
				if err != nil {
					t.Fatal(err)
				}
				n, err := bounded(t, hostile)
				switch {
				case err != nil:
				case it.Expect == "reject":
					t.Errorf("opened; it must: %s", it.Must)
				case it.Expect == "reject_or_warn" && len(n.Describe().NonFinite) == 0:
					t.Errorf("opened without a warning; it must: %s", it.Must)
				}
			})
		}
	}
	if ran == 0 {
		t.Error("no hostile files were found")
	}
	if marks, _ := filepath.Glob("/tmp/pwned-*"); len(marks) > 0 {
		t.Errorf("something was executed: %v", marks)
	}
}

// bounded opens a file and fails the test if that takes too long or too much
// memory.
func bounded(t *testing.T, data []byte) (format.Network, error) {
	t.Helper()
	before := heapBytes()
	var peak atomic.Uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				peak.Store(max(peak.Load(), heapBytes()))
			}
		}
	}()
	start := time.Now()
	n, err := open(data)
	took := time.Since(start)
	close(stop)
	<-stopped
	if took > hostileSeconds*time.Second {
		t.Errorf("took %v", took)
	}
	if p := peak.Load(); p > before+hostileBytes {
		t.Errorf("took %d MiB", (p-before)>>20)
	}
	return n, err
}

// heapBytes is what the objects of the heap occupy.
func heapBytes() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func TestDecodeRefusesOtherFormats(t *testing.T) {
	refused := func(data, want string, kind error) {
		t.Helper()
		_, err := format.Decode("policy", []byte(data))
		if err == nil || !strings.Contains(err.Error(), want) || kind != nil && !errors.Is(err, kind) {
			t.Errorf("Decode(%.12q): %v, wanted %q", data, err, want)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "policy: ") {
			t.Errorf("%v does not name the file", err)
		}
	}
	refused("", "no bytes", format.ErrFormat)
	refused("hello", "no known format", format.ErrFormat)
	refused("\x80\x04K\x01.", "pickle", format.ErrFormat)
	refused("version https://git-lfs.github.com/spec/v1\n", "git lfs pull", format.ErrFormat)
	refused("\x08\x08\x12\x07pytorch", "onnx: at byte 0x4: there is no graph", nil)
	refused("\x02\x00\x00\x00\x00\x00\x00\x00{}", "safetensors: the file holds no tensors", nil)
	refused(zipOf(t, "archive/data.json", "{}"), "without data.pkl", format.ErrFormat)
	refused(zipOf(t, "m/models/model.json", "{}", "m/archive_format", "pt2"), "unsupported: schema version", format.ErrUnsupported)
	refused(zipOf(t, "m/archive_format", "pt2", "m/data/aotinductor/model/a.so", "x"), "unsupported: a package of AOTInductor", format.ErrUnsupported)
	refused(zipOf(t, "m/archive_format", "pt2"), "unsupported: a package of torch.export", format.ErrUnsupported)
}

func TestDecodeRefusesBrokenArchives(t *testing.T) {
	refused := func(want string, members ...string) {
		t.Helper()
		_, err := open([]byte(zipOf(t, members...)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, wanted %q", members, err, want)
		}
	}
	refused("policy_class is missing", "data", "{}", "policy.pth", "x", "_stable_baselines3_version", "2.0")
	const empty = "\x80\x02)."
	code := "class M(Module):\n  def forward(self: __torch__.m.M,\n    x: Tensor) -> Tensor:\n    return torch.relu(x)\n"
	object := "\x80\x02c__torch__.m\nM\n)\x81}b."
	refused("code/", "a/data.pkl", object, "a/constants.pkl", empty)
	refused("constants.pkl", "a/data.pkl", object, "a/code/__torch__/m.py", code)
	refused("posix.system", "a/data.pkl", "\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.", "a/constants.pkl", empty, "a/code/__torch__/m.py", code)
	refused("__torch__.m.N", "a/data.pkl", "\x80\x02c__torch__.m\nN\n)\x81}b.", "a/constants.pkl", empty, "a/code/__torch__/m.py", code)
	refused("a module was expected", "a/data.pkl", "\x80\x02K\x01.", "a/constants.pkl", empty, "a/code/__torch__/m.py", code)
	refused("m.py:1:7", "a/data.pkl", object, "a/constants.pkl", empty, "a/code/__torch__/m.py", "class (Module):\n")
	refused("posix.system", "a/data.pkl", "\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.")
}
