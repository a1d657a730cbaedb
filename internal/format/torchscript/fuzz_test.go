package torchscript_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// FuzzDecode: an archive with any code and any tree of objects is an error, or
// makes graphs that verify.
func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		"return torch.tanh(torch.linear(x, torch.ones([2, 3]), None))",
		"y = torch.mul(x, 1)\nv = torch.slice(y, 1, 1)\n_0 = torch.add_(v, 1)\nreturn (y, v)",
		"n = 0\nwhile torch.lt(n, 3):\n  n = torch.add(n, 1)\n  x = torch.clamp(x, None, n)\nreturn {\"a\": x}",
		"a, b, = torch.chunk(torch.softmax(x, -1), 2, -1)\nreturn torch.cat([b, torch.view(a, [torch.size(x, 0), -1])], 1)",
		"return torch.batch_norm(torch.unsqueeze(x, 2), None, None, torch.ones([3]), torch.ones([3]), False, 0.1, 1e-05, True)",
	} {
		f.Add(forward(body), objectPickle)
	}
	f.Add(class("  n : int\n  def act(self: __torch__.m.M,\n    x: Tensor,\n    deterministic: bool) -> Tensor:\n    return torch.add(x, torch.randn_like(x))\n"), objectWith("n", "K\x05"))
	f.Add(class("  n : int\n  def forward(self: __torch__.m.M,\n    x: Tensor) -> Tensor:\n    n = self.n\n    self.n = torch.add(n, 1)\n"+
		"    if torch.gt(n, 5):\n      y = torch.neg(x)\n    else:\n      y = torch.mul(x, n)\n    return y\n"), objectWith("n", "K\x05"))
	f.Fuzz(func(t *testing.T, code, object string) {
		m, err := decode(t, code, object)
		if err != nil {
			return
		}
		lowerAll(t, m)
	})
}

// FuzzArchive: any bytes are an error, or an archive whose methods make graphs
// that verify.
func FuzzArchive(f *testing.F) {
	f.Add(archive(f, "data.pkl", objectPickle, "constants.pkl", emptyPickle, "code/__torch__/m.py", forward("return torch.relu(x)")))
	real, err := filepath.Glob("../../../testdata/torch/*/seq_tanh/model_*.pt")
	if err != nil || len(real) == 0 {
		f.Fatalf("no corpus: %v", err)
	}
	for _, path := range real {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		z, err := torch.OpenZip(data, torch.Limits{})
		if err != nil {
			return
		}
		m, err := torchscript.Decode(z)
		if err != nil {
			return
		}
		lowerAll(t, m)
	})
}

// lowerAll lowers every method, without shapes and with those of a row, for any
// number of rows and for one.
func lowerAll(t *testing.T, m *torchscript.Module) {
	t.Helper()
	row := map[string][]int{"x": {graph.Batch, 3}}
	for _, method := range m.Methods() {
		for _, o := range []torchscript.LowerOptions{{}, {InputShapes: row}, {InputShapes: row, Rows: 1}} {
			o.Method = method
			g, err := m.Lower(o)
			if errors.Is(err, torchscript.ErrInternal) {
				t.Errorf("%s: %v", method, err)
			}
			if err != nil {
				continue
			}
			if err := g.Verify(); err != nil {
				t.Errorf("%s: %v", method, err)
			}
		}
	}
}
