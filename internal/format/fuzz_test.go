package format_test

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"flag"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// The fuzz targets below take whole files of each format. A zip archive is given
// to the fuzzer as its members in a row, and is packed anew for the reader: its
// checksums would otherwise stop nearly everything that the fuzzer changes. The
// archive itself is fuzzed in package torch.

// between begins each member of an archive in the fuzzer's form; its name is the
// line behind it.
var between = []byte("\x00\xfe=member=")

// seed is a valid file of the corpora in the fuzzer's form.
type seed struct {
	format string
	data   []byte
}

// seeds are the valid model files of testdata and, where it is there, of the
// large corpus, the smallest first.
var seeds = sync.OnceValues(func() ([]seed, error) {
	const largest = 32 << 10
	roots := []string{"../../testdata", "sb3/testdata", "onnx/testdata"}
	if large := os.Getenv("CARLA_RL_CORPUS"); large != "" {
		roots = append(roots, large)
	}
	var all []seed
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.Contains(filepath.ToSlash(path), "/hostile/") {
				return err
			}
			switch filepath.Ext(path) {
			case ".pt", ".pth", ".pt2", ".onnx", ".safetensors", ".zip", ".cleanrl_model":
			default:
				return nil
			}
			data, err := os.ReadFile(path)
			if err != nil || len(data) > largest {
				return err
			}
			n, err := format.Decode("", data)
			if err != nil {
				return nil // one of the files that are there to be refused
			}
			all = append(all, seed{n.Describe().Format, membersOf(data)})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b seed) int { return cmp.Compare(len(a.data), len(b.data)) })
	return all, nil
})

// membersOf puts the members of a zip in a row. Other files stay as they are.
func membersOf(data []byte) []byte {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return data
	}
	var b bytes.Buffer
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			return data
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return data
		}
		b.Write(between)
		b.WriteString(f.Name + "\n")
		b.Write(content)
	}
	return b.Bytes()
}

// packed is the way back.
func packed(t testing.TB, data []byte) []byte {
	if !bytes.HasPrefix(data, between) {
		return data
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range bytes.Split(data, between)[1:] {
		name, content, _ := bytes.Cut(m, []byte("\n"))
		if len(name) > 1<<10 {
			continue
		}
		n := uint64(len(content))
		name = bytes.TrimRight(name, "/") // a folder has no contents, and this writer gives it none
		f, err := w.CreateRaw(&zip.FileHeader{Name: string(name), Flags: 1 << 11, CRC32: crc32.ChecksumIEEE(content), CompressedSize64: n, UncompressedSize64: n})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// fuzzing reports whether the fuzzer runs: as tests, a few seeds are enough.
func fuzzing() bool {
	f := flag.Lookup("test.fuzz")
	return f != nil && f.Value.String() != ""
}

// fuzzFormat asserts that any change of the files of one format is an error, or
// gives graphs that verify, compile and run, in bounded time and memory.
func fuzzFormat(f *testing.F, name string, more ...[]byte) {
	all, err := seeds()
	if err != nil {
		f.Fatal(err)
	}
	most, count := 12, 0
	if fuzzing() {
		most = 400
	}
	for _, s := range all {
		if s.format == name && count < most {
			f.Add(s.data)
			count++
		}
	}
	if count == 0 {
		f.Fatalf("no file of the corpora is %s", name)
	}
	for _, data := range more {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file := packed(t, data)
		before, start := allocated(), time.Now()
		err := load(t, file)
		if took := time.Since(start); took > hostileSeconds*time.Second {
			t.Errorf("%d bytes took %v (%v)", len(file), took, err)
		}
		if n := allocated() - before; n > fuzzBytes+64*uint64(len(file)) {
			t.Errorf("%d bytes took %d MiB in all (%v)", len(file), n>>20, err)
		}
	})
}

// fuzzBytes is what one small file may allocate from its first byte to a run of
// all its methods, what was freed again counted too.
const fuzzBytes = 512 << 20

// load decodes a file, lowers each of its methods in several ways, and runs them.
func load(t *testing.T, file []byte) error {
	n, err := format.Decode("", file)
	if err != nil {
		return err
	}
	d := n.Describe()
	row := map[string][]int{}
	for _, name := range []string{"x", "obs", "input", "observation"} {
		row[name] = []int{graph.Batch, 5}
	}
	methods := d.Methods
	if len(methods) > 3 {
		methods = methods[:3]
	}
	for _, method := range methods {
		for _, o := range []format.LowerOptions{{Deterministic: true}, {InputShapes: row}, {Deterministic: true, InputShapes: row, Rows: 1}} {
			o.Method = method
			g, err := n.Lower(o)
			if err != nil && strings.Contains(err.Error(), "internal error") {
				t.Errorf("%s: %v", method, err)
			}
			if err != nil {
				continue
			}
			if err := g.Verify(); err != nil {
				t.Errorf("%s: %v", method, err)
				continue
			}
			if p, err := plan.Compile(g, plan.Options{}); err == nil {
				once(t, g, p)
			}
		}
	}
	return nil
}

// once runs a plan for one row of zeros, where the row is small.
func once(t *testing.T, g *graph.Graph, p *plan.Plan) {
	const most = 1 << 20
	var in, out [][]float32
	total := 0
	for _, v := range g.Inputs {
		if total += v.Shape.RowElements(); total > most {
			return
		}
		in = append(in, make([]float32, v.Shape.RowElements()))
	}
	for _, o := range g.Outputs {
		if total += o.Value.Shape.RowElements(); total > most {
			return
		}
		out = append(out, make([]float32, o.Value.Shape.RowElements()))
	}
	if err := p.NewRunner().Run(1, in, out, plan.Noise{}); err != nil && !errors.Is(err, graph.ErrStepBudget) {
		t.Errorf("a plan that compiled does not run: %v", err)
	}
}

// allocated is what was ever allocated.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func FuzzONNX(f *testing.F)        { fuzzFormat(f, "onnx") }
func FuzzTorchScript(f *testing.F) { fuzzFormat(f, "torchscript") }
func FuzzSafetensors(f *testing.F) { fuzzFormat(f, "safetensors") }
func FuzzTorchExport(f *testing.F) { fuzzFormat(f, "torch.export") }
func FuzzWeights(f *testing.F)     { fuzzFormat(f, "torch weights") }
func FuzzModule(f *testing.F)      { fuzzFormat(f, "torch module") }
func FuzzAgent(f *testing.F)       { fuzzFormat(f, "stable-baselines3") }
