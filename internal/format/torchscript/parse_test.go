package torchscript

import (
	"errors"
	"strings"
	"testing"
)

func parse(src string) (*sourceFile, error) {
	budget := maxTokens
	return parseFile("m.py", "__torch__.m", src, &budget)
}

// TestParse reads the forms that the printer of TorchScript writes.
func TestParse(t *testing.T) {
	accepts := func(src string) *sourceFile {
		t.Helper()
		f, err := parse(src)
		if err != nil {
			t.Errorf("%v in\n%s", err, src)
		}
		return f
	}
	accepts("")
	accepts("op_version_set = 1\n")
	accepts("# a comment\n\n   \ndef f() -> NoneType:\n  return None\n")
	accepts("def f(a: Tensor,\n    b: Optional[Tensor]=None,\n    c: Tuple[int, int]=(1, 2)) -> Tuple[Tensor, List[int]]:\n  pass\n")
	accepts("def f():\n  a, b, = x\n  a, = x\n  a, b = x, y\n  (a, b) = x\n  [a, b] = x\n  a : int = 3\n  a.b = c\n  a[0] = c\n  a += 1\n")
	accepts("def f():\n  if a:\n    pass\n  elif b:\n    pass\n  else:\n    pass\n  while True:\n    break\n  for i, j in enumerate(x):\n    continue\n  for k in range(3):\n    pass\n")
	accepts("def f():\n  return torch.f(a, [1, 2, ], b=None, c={\"x\": 1, \"y\": 2, }, )\n")
	accepts("def f():\n  return (a).g(b, )[0].h(-1, 1., 1e-5, .5, -inf, nan, -9223372036854775808)\n")
	accepts("def f():\n  return not a and b or c in d and e not in f and g is not None and h is i\n")
	accepts("def f():\n  return a + b * c ** -d // e % f - ~g | h & i ^ j << 2 >> 1 @ k\n")
	accepts("def f():\n  return \"it\\'s \\\"x\\\" \\n \\t \\101 \\x41 \\\\\" 'two'\n")
	accepts("def f():\n  x = \"\"\"long\nstring\"\"\"\n  raise x\n  assert a, \"b\"\n")
	accepts("def f():\n  return a if b else c\n")

	f := accepts("class M(Module):\n  __parameters__ = [\"w\", ]\n  w : Tensor\n  n : Final[int] = 8\n" +
		"  __annotations__[\"0\"] = __torch__.m.N\n  def forward(self: __torch__.m.M) -> Tensor:\n    return self.w\n  @staticmethod\n  def g(x: int) -> int:\n    return x\n" +
		"class T(NamedTuple):\n  a : Tensor\n  b : int = 3\nclass E:\n  pass\n")
	if len(f.classes) != 3 || f.classes[0].name != "__torch__.m.M" || f.classes[0].base != "Module" || len(f.classes[0].methods) != 2 || f.classes[1].base != "NamedTuple" {
		t.Errorf("classes are %+v", f.classes)
	}
	names := ""
	for _, field := range f.classes[0].fields {
		names += field.name + " "
	}
	if names != "__parameters__ w n 0 " {
		t.Errorf("fields are %q", names)
	}
}

func TestParseValues(t *testing.T) {
	value := func(src string, want value) {
		t.Helper()
		f, err := parse("def f():\n  return " + src + "\n")
		if err != nil {
			t.Errorf("%s: %v", src, err)
			return
		}
		lit, ok := f.funcs[0].body[0].(*returnStmt).value.(*litExpr)
		if !ok || lit.val != want {
			t.Errorf("%s is %#v, want %#v", src, lit, want)
		}
	}
	value("1", int64(1))
	value("-1", int64(-1))
	value("9223372036854775807", int64(9223372036854775807))
	value("-9223372036854775808", int64(-9223372036854775808))
	value("1.", 1.0)
	value("-5.", -5.0)
	value("1.0000000000000001e-05", 1e-05)
	value("None", nil)
	value("True", true)
	value(`"a\n\'\"\\\x41\101"`, "a\n'\"\\AA")
	value(`"\u00e9"`, "é")
}

func TestParseErrors(t *testing.T) {
	fails := func(src, want string) {
		t.Helper()
		_, err := parse(src)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, wanted %q", src, err, want)
		}
	}
	fails("class (Module):\n", "m.py:1:7: expected a name")
	fails("def f():\nreturn x\n", "m.py:2:1: expected an indented block")
	fails("def f():\n  return (x\n", "end of file within brackets")
	fails("def f():\n  return x)\n", "m.py:2:11: unexpected ')'")
	fails("def f():\n  return \"x\n", "m.py:2:12: newline in string")
	fails("def f():\n  return \"\"\"x\n", "is not closed")
	fails("def f():\n  return \"\\q\"\n", "unknown escape sequence")
	fails("def f():\n    x = 1\n  y = 2\n", "m.py:3:3: indentation matches no block")
	fails("def f():\n  return 99999999999999999999\n", "does not fit 64 bits")
	fails("def f():\n  return 1x\n", "number is followed by")
	fails("def f():\n  return lambda x: x\n", "lambda")
	fails("def f():\n  1 = x\n", "cannot assign")
	fails("def f():\n  a, b = 1, 2, 3\n", "as many values as targets")
	fails("def f():\n  return a < b < c\n", "comparisons in a chain")
	fails("def f():\n  return f(a=1, 2)\n", "positional argument after")
	fails("def f():\n  try:\n    pass\n", `expected an expression, found "try"`)
	fails("def f():\n  return x $ y\n", "unexpected byte '$'")
	fails("class M:\n  def f():\n    pass\n  def f():\n    pass\n", "method f is defined twice")
	fails("class M:\n  x.y : int\n", "expected an attribute")
	fails("import os\n", "import")
}

func TestParseLimits(t *testing.T) {
	limited := func(name, src string) {
		t.Helper()
		if _, err := parse(src); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	deep := func(open, middle, closing string) string {
		const n = 20_000
		return "def f():\n  return " + strings.Repeat(open, n) + middle + strings.Repeat(closing, n) + "\n"
	}
	limited("parentheses", deep("(", "x", ")"))
	limited("lists", deep("[", "x", "]"))
	limited("calls", deep("f(", "x", ")"))
	limited("negations", deep("- ", "x", ""))
	limited("not", deep("not ", "x", ""))
	limited("sums", deep("x + ", "x", ""))
	limited("powers", deep("x ** ", "x", ""))
	limited("attributes", deep("x", "", ".y"))
	limited("conditions", deep("x if y else ", "x", ""))
	limited("elif", "def f():\n  if a:\n    pass\n"+strings.Repeat("  elif b:\n    pass\n", 20_000))
	limited("blocks of one line", "def f():\n  "+strings.Repeat("if a:", 20_000)+" pass\n")
	limited("string", "def f():\n  return \""+strings.Repeat("x", 100_000)+"\"\n")
	limited("joined strings", "def f():\n  return "+strings.Repeat("\""+strings.Repeat("x", 60_000)+"\" ", 4)+"\n")
	limited("tokens", "def f():\n  return ["+strings.Repeat("1,", 200_000)+"]\n")
	var nested strings.Builder
	nested.WriteString("def f():\n")
	for i := 1; i < 300; i++ {
		nested.WriteString(strings.Repeat(" ", i) + "if a:\n")
	}
	limited("blocks", nested.String())
}

// FuzzParse: any text is an error or a file whose parse ends.
func FuzzParse(f *testing.F) {
	for _, src := range []string{
		"class M(Module):\n  w : Tensor\n  n : Final[int] = 8\n  __annotations__[\"0\"] = __torch__.N\n  def forward(self: __torch__.M,\n    x: Tensor) -> Tensor:\n    a, b, = torch.f(x, [1, 2], c=None, )\n    return a\n",
		"def f(a: int=1) -> NoneType:\n  while True:\n    if a:\n      break\n    else:\n      a += 1\n  for i in range(3):\n    x[0] = -1.5e-3 ** ~i // 2\n  return \"\\x41\\n\"\n",
		"def f():\n  return {\"a\": (1,), 'b': not x is not None}\n", "\t\"\"\"", "(", "def f(\n",
	} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		if file, err := parse(src); err == nil && file == nil {
			t.Error("neither a file nor an error")
		}
	})
}
