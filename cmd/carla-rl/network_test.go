package main

import (
	"archive/zip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeScript writes a scripted module whose forward takes x and m, whose types
// it does not tell.
func writeScript(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.pt")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(file)
	for name, content := range map[string]string{
		"data.pkl":      "\x80\x02c__torch__.m\nM\n)\x81}b.",
		"constants.pkl": "\x80\x02).",
		"version":       "3\n",
		"code/__torch__/m.py": "class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n" +
			"  def forward(self: __torch__.m.M,\n    x: Tensor,\n    m: Tensor) -> Tensor:\n    " + strings.ReplaceAll(body, "\n", "\n    ") + "\n",
	} {
		f, err := w.CreateHeader(&zip.FileHeader{Name: "a/" + name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// The type of an input that a scripted module does not tell is that which it is
// written in.
func TestPredictTypesOfInputs(t *testing.T) {
	f := func(body, m, want string) {
		t.Helper()
		r := execute(`{"inputs":{"x":[[1.0,-2.0]],"m":`+m+`}}`, "predict", "--model", writeScript(t, body), "--input", "-")
		if !strings.Contains(r.stdout+r.stderr, want) {
			t.Errorf("%s\nof %s gives %s%s, want %s", body, m, r.stdout, r.stderr, want)
		}
	}
	fill := "return torch.masked_fill(x, torch.bitwise_not(m), 9.)"
	f(fill, "[[true,false]]", "[[1,9]]")
	f(fill, "[[1,0]]", "[[1,9]]")
	f(fill, "[[1,2]]", "input m: expected bool, got 2")
	f(fill, "[[1.0,0.0]]", "bitwise_not of f32")

	bits := "return torch.mul(x, torch.bitwise_not(m))"
	f(bits, "[[false,true]]", "[[1,-0]]")
	f(bits, "[[3,4]]", "[[-4,10]]")

	dtype := "if torch.eq(ops.prim.dtype(m), 0):\n  y = x\nelse:\n  y = torch.neg(x)\nreturn y"
	f(dtype, "[[1,2]]", `the code asks whether input "m" is of integers, of booleans or of floating point`)
	f(dtype, "[[1.0,2.0]]", "[[-1,2]]")
	f("return torch.add(x, m)", "[[true,false]]", "[[2,-2]]")
	f("return torch.add(x, m)", "[[1,2]]", "[[2,0]]")
}
