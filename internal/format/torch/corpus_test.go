package torch_test

import (
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

func TestCorpusHostile(t *testing.T) {
	wants := map[string]string{
		"torch/truncated_half.pth":          "cut off",
		"torch/reduce_os_system.pth":        `"posix.system"`,
		"torch/offset_out_of_bounds.pth":    "reaches element",
		"torch/stride_out_of_bounds.pth":    "reaches element",
		"torch/negative_size.pth":           "negative size",
		"torch/huge_size_stride0.pth":       "more than the file can fill",
		"torch/size_overflow_int64.pth":     "overflows",
		"torch/rank_vs_stride_mismatch.pth": "2 sizes and 1 strides",
		"torch/storage_key_traversal.pth":   "is no member name",
		"torch/unknown_storage_type.pth":    `"torch.EvilStorage"`,
		"zip/duplicate_storage_member.pth":  "two members of this name",
		"zip/crc_mismatch.pth":              "checksum",
		"zip/bomb_1gib_deflate.zip":         "limit exceeded",
		"zip/path_traversal_member.zip":     "a path out of the archive",
		"zip/duplicate_data_member.zip":     "two members of this name",
		"zip/encrypted_flag.zip":            "encrypted",
	}
	root, ok := corpus(t, len(wants)+1)
	if !ok {
		return
	}
	for name, want := range wants {
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join(root, "hostile", name))
			if err != nil {
				t.Fatal(err)
			}
			guarded(t, func() error {
				_, err := torch.Decode(b)
				return refused(err, want)
			})
		})
	}
	t.Run("torch/nan_inf_weights.pth", func(t *testing.T) {
		b, err := os.ReadFile(filepath.Join(root, "hostile/torch/nan_inf_weights.pth"))
		if err != nil {
			t.Fatal(err)
		}
		if f, _ := stateDict(t, b); len(f.NonFinite) == 0 {
			t.Error("NaN weights load without a word")
		}
	})
}

// The state dicts of the small corpus hold the same tensors in the zip and in
// the container before it, for every version of torch that wrote them.
func TestTestdata(t *testing.T) {
	const cases = 5
	found, err := filepath.Glob("../../../testdata/torch/*/*/state_dict_legacy.pth")
	if err != nil || len(found) < cases {
		t.Fatalf("%d files, at least %d were wanted: %v", len(found), cases, err)
	}
	for _, path := range found {
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(filepath.Dir(path), "state_dict.pth"))
		if err != nil {
			t.Fatal(err)
		}
		f, s := stateDict(t, b)
		g, old := stateDict(t, before)
		if f.Kind != torch.KindZip || g.Kind != torch.KindLegacy || len(s) == 0 || show(s) != show(old) {
			t.Errorf("%s: %s and %s differ", path, f.Kind, g.Kind)
		}
	}
}

// Every state dict of the corpus is read whole: the .pth files of torch, those
// of other libraries and the members of the zips of stable-baselines3.
func TestCorpusStateDicts(t *testing.T) {
	const cases = 140
	root, ok := corpus(t, cases)
	if !ok {
		return
	}
	n := 0
	decode := func(name string, b []byte) {
		f, err := torch.Decode(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		s, err := f.StateDict()
		if err != nil {
			if !strings.Contains(err.Error(), "holds no tensors") {
				t.Errorf("%s: %v", name, err)
			}
			return
		}
		n++
		for _, x := range s {
			if err := x.Tensor.Check(); err != nil {
				t.Errorf("%s: %s: %v", name, x.Name, err)
			}
		}
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "hostile") {
			return err
		}
		ext := filepath.Ext(path)
		weights := ext == ".pth" && d.Name() != "module.pth" || ext == ".cleanrl_model" || d.Name() == "model_100.pt"
		if !weights && ext != ".zip" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if weights {
			decode(path, b)
			return nil
		}
		z, err := torch.OpenZip(b, torch.Limits{})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		for _, name := range z.Names() {
			if !strings.HasSuffix(name, ".pth") || z.Size(name) == 0 {
				continue
			}
			inner, err := z.Read(name)
			if err != nil {
				return err
			}
			decode(path+"!"+name, inner)
		}
		return nil
	})
	if err != nil || n < cases {
		t.Errorf("%d state dicts, at least %d were wanted: %v", n, cases, err)
	}
}

// The tensors of a state dict are those of the safetensors file of the same
// module, which another reader of another format gives.
func TestCorpusAgainstSafetensors(t *testing.T) {
	const cases = 20
	root, ok := corpus(t, cases)
	if !ok {
		return
	}
	found, err := filepath.Glob(filepath.Join(root, "torch", "*", "model.safetensors"))
	if err != nil || len(found) < cases {
		t.Fatalf("%d files, at least %d were wanted: %v", len(found), cases, err)
	}
	for _, path := range found {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join(filepath.Dir(path), "state_dict.pth"))
			if err != nil {
				t.Fatal(err)
			}
			_, s := stateDict(t, b)
			compareSafetensors(t, path, s)
		})
	}
}

func compareSafetensors(t *testing.T, path string, s torch.StateDict) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := 8 + int(le.Uint64(b))
	var head map[string]struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets []int  `json:"data_offsets"`
	}
	if err := json.Unmarshal(b[8:n], &head); err != nil {
		t.Fatal(err)
	}
	delete(head, "__metadata__")
	// safetensors keeps one of two tied tensors.
	if len(head) == 0 || len(head) > len(s) {
		t.Fatalf("%d tensors and %d", len(head), len(s))
	}
	for name, h := range head {
		got := s.Get(name)
		if got == nil || !slices.Equal([]int(got.Shape), h.Shape) {
			t.Errorf("%s: got %+v, want shape %v", name, got, h.Shape)
			continue
		}
		raw := b[n+h.Offsets[0] : n+h.Offsets[1]]
		for i := range got.Len() {
			var want float64
			switch h.DType {
			case "F32":
				want = float64(math.Float32frombits(le.Uint32(raw[4*i:])))
			case "BF16":
				want = float64(math.Float32frombits(uint32(le.Uint16(raw[2*i:])) << 16))
			case "F64":
				want = math.Float64frombits(le.Uint64(raw[8*i:]))
			case "I64":
				want = float64(int64(le.Uint64(raw[8*i:])))
			default:
				t.Fatalf("%s of %s", name, h.DType)
			}
			if got.At(i) != want {
				t.Fatalf("%s[%d]: got %v, want %v", name, i, got.At(i), want)
			}
		}
	}
}

// FuzzOpenZip asserts that an archive is refused with a FormatError, or every
// member of it is read or refused, with no more bytes than the limit says.
func FuzzOpenZip(f *testing.F) {
	f.Add(two().b)
	f.Add(wideEntry().b)
	f.Add(build(member{name: "m/a", data: []byte(strings.Repeat("code ", 50)), deflate: true, later: true}).b)
	for _, c := range hostileZips {
		if b := c.make().b; len(b) < 4096 {
			f.Add(b)
		}
	}
	l := torch.Limits{MaxEntries: 20, MaxInflated: 1 << 16}
	f.Fuzz(func(t *testing.T, b []byte) {
		z, err := torch.OpenZip(b, l)
		if err != nil {
			if err := refused(err, ""); err != nil {
				t.Fatal(err)
			}
			return
		}
		total := 0
		for _, name := range z.Names() {
			data, err := z.Read(name)
			if err != nil {
				continue
			}
			if len(data) != z.Size(name) || strings.Contains(name, "..") && strings.Contains(name, "/../") {
				t.Fatalf("%q: %d bytes of %d", name, len(data), z.Size(name))
			}
			total += len(data)
		}
		if total > len(b)+l.MaxInflated {
			t.Fatalf("%d bytes of %d", total, len(b))
		}
	})
}

// FuzzDecode asserts that a file is refused with a FormatError or gives
// tensors that are sound and no larger than the file can fill.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(dict("w", floats("0").String())), six, []byte(nil))
	for _, c := range hostileStates {
		if len(c.object) < 4096 {
			f.Add([]byte(c.object), six, []byte(nil))
		}
	}
	data := append(le.AppendUint64(nil, 6), six...)
	f.Add([]byte(nil), []byte(nil), legacy(dict("w", floats("k").pickled("N")), "]"+text("k")+"a", data))
	f.Add([]byte(nil), []byte(nil), saved(dict("w", floats("0").String()), six).b)
	f.Fuzz(func(t *testing.T, object, storage, whole []byte) {
		// Bytes that are not given whole are wrapped into a sound archive, so
		// that its checksums do not stop the fuzzer.
		if len(whole) == 0 {
			whole = saved(string(object), storage).b
		}
		file, err := torch.Decode(whole)
		if err != nil {
			if err := refused(err, ""); err != nil {
				t.Fatal(err)
			}
			return
		}
		s, err := file.StateDict()
		if err != nil {
			return
		}
		seen, total := make(map[*graph.Tensor]bool), 0
		for _, x := range s {
			if err := x.Tensor.Check(); err != nil {
				t.Fatal(err)
			}
			if !seen[x.Tensor] {
				seen[x.Tensor] = true
				total += x.Tensor.Len()
			}
		}
		if total > 4*len(whole)+64<<10 {
			t.Fatalf("%d elements of %d bytes", total, len(whole))
		}
	})
}
