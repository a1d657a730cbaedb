package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// corpusDir is the folder of real artifacts with the answers of their own
// frameworks; it reports false after it said how many cases are not run.
func corpusDir(t *testing.T, cases int) (string, bool) {
	t.Helper()
	dir := os.Getenv("CARLA_RL_CORPUS")
	if dir == "" {
		t.Logf("%d cases not run: CARLA_RL_CORPUS is not set", cases)
	}
	return dir, dir != ""
}

// outcome is one run of the program in this process.
type outcome struct {
	code           int
	stdout, stderr string
}

func execute(stdin string, args ...string) outcome {
	var out, err bytes.Buffer
	code := run(args, stdio{strings.NewReader(stdin), &out, &err})
	return outcome{code, out.String(), err.String()}
}

// prediction is what predict prints.
type prediction struct {
	Actions any            `json:"actions"`
	Outputs jsontext.Value `json:"outputs"`

	outputs map[string]any
	names   []string // in the order of the answer
}

func predict(t *testing.T, question any, args ...string) (*prediction, error) {
	t.Helper()
	input, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	r := execute(string(input), append([]string{"predict", "--input", "-"}, args...)...)
	if r.code != 0 {
		if r.code != 1 || strings.Count(r.stderr, "\n") != 1 || r.stdout != "" {
			t.Errorf("exit code %d, standard output %q, standard error %q: want 1 and one line of reason", r.code, r.stdout, r.stderr)
		}
		return nil, fmt.Errorf("%s", strings.TrimSpace(r.stderr))
	}
	p := &prediction{}
	if err := json.Unmarshal([]byte(r.stdout), p); err != nil {
		t.Fatalf("%v: %s", err, r.stdout)
	}
	if err := json.Unmarshal(p.Outputs, &p.outputs); err != nil {
		t.Fatalf("%v: %s", err, r.stdout)
	}
	dec := jsontext.NewDecoder(bytes.NewReader(p.Outputs))
	if _, err := dec.ReadToken(); err != nil {
		t.Fatal(err)
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			t.Fatal(err)
		}
		p.names = append(p.names, name.String())
		if err := dec.SkipValue(); err != nil {
			t.Fatal(err)
		}
	}
	return p, nil
}

// array is a recorded or printed tensor.
type array struct {
	shape []int
	data  []float64
}

// arrayOf reads nested lists, in which NaN and infinities are strings.
func arrayOf(v any) (array, error) {
	var a array
	var walk func(v any, depth int) error
	walk = func(v any, depth int) error {
		switch v := v.(type) {
		case []any:
			if depth == len(a.shape) && len(a.data) == 0 {
				a.shape = append(a.shape, len(v))
			}
			if depth >= len(a.shape) || a.shape[depth] != len(v) {
				return fmt.Errorf("ragged lists")
			}
			for _, e := range v {
				if err := walk(e, depth+1); err != nil {
					return err
				}
			}
			return nil
		case float64:
			a.data = append(a.data, v)
		case bool:
			a.data = append(a.data, map[bool]float64{true: 1}[v])
		case string:
			f, err := strconv.ParseFloat(v, 64)
			if err != nil {
				return err
			}
			a.data = append(a.data, f)
		default:
			return fmt.Errorf("a tensor with %v in it", v)
		}
		return nil
	}
	return a, walk(v, 0)
}

// same compares with what was recorded: |got-want| <= atol + 1e-5*|want|.
// Lists whose members differ in length are compared one by one.
func same(got, want any, atol float64) error {
	w, err := arrayOf(want)
	if list, ok := want.([]any); ok && err != nil {
		g, ok := got.([]any)
		if !ok || len(g) != len(list) {
			return fmt.Errorf("got %v, a list of %d was recorded", got, len(list))
		}
		for i := range list {
			if err := same(g[i], list[i], atol); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
		return nil
	}
	g, err := arrayOf(got)
	if err != nil {
		return err
	}
	if !slices.Equal(g.shape, w.shape) {
		return fmt.Errorf("the shape is %v, %v was recorded", g.shape, w.shape)
	}
	return near(g.data, w.data, atol)
}

func near(got, want []float64, atol float64) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d numbers, %d were recorded", len(got), len(want))
	}
	if d := differ(got, want, atol, 1e-5); d.Failed > 0 {
		return fmt.Errorf("number %d is %v, %v was recorded (%d of %d beyond the tolerance)", d.At, got[d.At], want[d.At], d.Failed, len(want))
	}
	return nil
}

// readCases reads the cases.json of a folder.
func readCases(t *testing.T, dir string, v any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
}

// caseFolders lists the folders with a cases.json that match.
func caseFolders(t *testing.T, dir string, want int, patterns ...string) []string {
	t.Helper()
	var folders []string
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern), "cases.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			folders = append(folders, filepath.Dir(f))
		}
	}
	if len(folders) != want {
		t.Fatalf("%d cases of %v, want %d", len(folders), patterns, want)
	}
	return folders
}

// withArrays replaces {"npy": file} by the nested lists of the file.
func withArrays(t *testing.T, dir string, v any) any {
	t.Helper()
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	if file, ok := m["npy"].(string); ok {
		a := readNPY(t, filepath.Join(dir, file))
		return nest(&a.data, a.shape)
	}
	out := map[string]any{}
	for k, e := range m {
		out[k] = withArrays(t, dir, e)
	}
	return out
}

func nest(data *[]float64, shape []int) any {
	if len(shape) == 0 {
		x := (*data)[0]
		*data = (*data)[1:]
		return x
	}
	list := make([]any, shape[0])
	for i := range list {
		list[i] = nest(data, shape[1:])
	}
	return list
}

// readNPY reads the arrays that lie beside a cases.json: little-endian bytes
// and float32 in C order.
func readNPY(t *testing.T, path string) array {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := int(binary.LittleEndian.Uint16(data[8:]))
	header, body := string(data[10:10+n]), data[10+n:]
	_, dims, _ := strings.Cut(header, "'shape': (")
	dims, _, _ = strings.Cut(dims, ")")
	var a array
	total := 1
	for s := range strings.SplitSeq(dims, ",") {
		if s = strings.TrimSpace(s); s != "" {
			d, err := strconv.Atoi(s)
			if err != nil {
				t.Fatal(err)
			}
			a.shape = append(a.shape, d)
			total *= d
		}
	}
	for i := range total {
		switch {
		case strings.Contains(header, "'|u1'"):
			a.data = append(a.data, float64(body[i]))
		case strings.Contains(header, "'<f4'"):
			a.data = append(a.data, float64(math.Float32frombits(binary.LittleEndian.Uint32(body[4*i:]))))
		default:
			t.Fatalf("%s: %s", path, header)
		}
	}
	return a
}
