package torchscript_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// The smallest pickles of an archive: an object of class M of module m, whose
// attributes may be given, and no constants.
const (
	emptyPickle  = "\x80\x02)."
	objectPickle = "\x80\x02c__torch__.m\nM\n)\x81}b."
)

// objectWith is an object of class M with attributes: pairs of a name and the
// opcodes of its value.
func objectWith(attrs ...string) string {
	var b strings.Builder
	b.WriteString("\x80\x02c__torch__.m\nM\n)\x81}(")
	for i := 0; i < len(attrs); i += 2 {
		b.WriteString("X" + string([]byte{byte(len(attrs[i])), 0, 0, 0}) + attrs[i] + attrs[i+1])
	}
	b.WriteString("ub.")
	return b.String()
}

// archive zips members: name, content, name, content.
func archive(t testing.TB, members ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		f, err := w.CreateHeader(&zip.FileHeader{Name: "a/" + members[i], Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(members[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// decode decodes an archive of one class of code.
func decode(t testing.TB, code, object string) (*torchscript.Module, error) {
	t.Helper()
	return decodeMembers(t, "data.pkl", object, "constants.pkl", emptyPickle, "code/__torch__/m.py", code)
}

func decodeMembers(t testing.TB, members ...string) (*torchscript.Module, error) {
	t.Helper()
	z, err := torch.OpenZip(archive(t, members...), torch.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return torchscript.Decode(z)
}

// class is the code of a module M with methods.
func class(methods string) string {
	return "class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n" + methods
}

// forward is the code of a module whose forward has a body. The lines of the
// body are indented by four blanks.
func forward(body string) string {
	return class("  def forward(self: __torch__.m.M,\n    x: Tensor) -> Tensor:\n"+indent(body)) + helpers
}

// helpers are functions beside the class.
const helpers = "def twice(a: Tensor,\n    k: int=2) -> Tensor:\n  return torch.mul(a, k)\n"

func indent(body string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(body), "\n", "\n    ") + "\n"
}

// lower lowers forward with an input x of [B,3].
func lower(t testing.TB, code, object string) (*graph.Graph, error) {
	t.Helper()
	m, err := decode(t, code, object)
	if err != nil {
		return nil, err
	}
	return m.Lower(torchscript.LowerOptions{InputShapes: map[string][]int{"x": {graph.Batch, 3}}})
}

// mustLower lowers a forward that is sound.
func mustLower(t *testing.T, code, object string) *graph.Graph {
	t.Helper()
	g, err := lower(t, code, object)
	if err != nil {
		t.Fatalf("%v in\n%s", err, code)
	}
	return g
}

// run evaluates a graph of one input [B,3] on one row.
func run(t *testing.T, g *graph.Graph, row ...float32) []*graph.Tensor {
	t.Helper()
	outs, err := graph.Evaluate(g, 1, []*graph.Tensor{graph.Float32s(row, 1, len(row))}, graph.Noise{})
	if err != nil {
		t.Fatal(err)
	}
	return outs
}

// gives checks what a forward computes of [1, -2, 3].
func gives(t *testing.T, body string, want ...float32) {
	t.Helper()
	out := run(t, mustLower(t, forward(body), objectPickle), 1, -2, 3)[0]
	got := make([]float32, out.Len())
	for i := range got {
		got[i] = float32(out.At(i))
	}
	if len(got) != len(want) {
		t.Errorf("%s\ngives %v, want %v", body, got, want)
		return
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s\ngives %v, want %v", body, got, want)
			return
		}
	}
}

// fails checks that a code is refused with a message, as an error of a kind.
func fails(t *testing.T, code, object, want string, kind error) {
	t.Helper()
	_, err := lower(t, code, object)
	if err == nil || !strings.Contains(err.Error(), want) || kind != nil && !errors.Is(err, kind) {
		t.Errorf("error is %v, wanted %q, in\n%s", err, want, code)
	}
}
