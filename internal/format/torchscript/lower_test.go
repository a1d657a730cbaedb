package torchscript_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

func TestLowerPython(t *testing.T) {
	gives(t, "return x", 1, -2, 3)
	gives(t, "a, b, = (torch.relu(x), 2)\nreturn torch.mul(a, b)", 2, 0, 6)
	gives(t, "a, b = x, 3.5\nreturn torch.add(a, b)", 4.5, 1.5, 6.5)
	gives(t, "y : Optional[Tensor] = torch.neg(x)\nreturn unchecked_cast(Tensor, y)", -1, 2, -3)
	gives(t, "n = 0\nwhile torch.lt(n, 3):\n  n = torch.add(n, 1)\nreturn torch.mul(x, n)", 3, -6, 9)
	gives(t, "y = x\nfor i in range(2):\n  y = torch.add(y, i)\nreturn y", 2, -1, 4)
	gives(t, "if torch.__is__(x, None):\n  y = x\nelse:\n  y = torch.neg(x)\nreturn y", -1, 2, -3)
	gives(t, "l = annotate(List[Tensor], [])\n_0 = torch.append(l, x)\n_1 = torch.append(l, x)\nreturn torch.add(l[0], l[-1])", 2, -4, 6)
	gives(t, "d = {\"a\": x, \"b\": 2}\nreturn torch.mul(d[\"a\"], d[\"b\"])", 2, -4, 6)
	gives(t, "if torch.eq(torch.size(x, 1), 3):\n  return x\nelse:\n  ops.prim.RaiseException(\"no\")", 1, -2, 3)
	gives(t, "if torch.gt(torch.size(x, 0), 0):\n  return x\nreturn torch.neg(x)", 1, -2, 3)
	gives(t, "return torch.mul(x, 7 // 2 - 7 % 4)", 0, 0, 0)
	gives(t, "k = -7 // 2\nreturn torch.mul(x, k)", -4, 8, -12)
	gives(t, "return torch.view(x, [torch.size(x, 0), -1])", 1, -2, 3)
	gives(t, "_0 = ops.prim.NumToTensor(torch.size(x, 1))\nn = int(torch.mul(_0, torch.tensor(2)))\nreturn torch.add(x, n)", 7, 4, 9)
	gives(t, "y = 1 if torch.ne(2, 3) else 5\nreturn torch.add(x, y)", 2, -1, 4)
	gives(t, "f = __torch__.m.twice\nreturn f(x, )", 2, -4, 6)
	gives(t, "return __torch__.m.twice(x, k=3)", 3, -6, 9)
	gives(t, "y = x\nfor _0 in range(torch.__range_length(2, -1, -1)):\n  i = torch.__derive_index(_0, 2, -1)\n  y = torch.add(torch.mul(y, 2), i)\nreturn y", 18, -6, 34)
	gives(t, "l = [1]\n_0 = torch.add_(l, [2, 3])\nreturn torch.mul(x, torch.len(l))", 3, -6, 9)
	gives(t, "i, total = 0, 0\nwhile True:\n  i += 1\n  if i > 5:\n    break\n  if i % 2 == 0:\n    continue\n  total += i\nreturn x + total", 10, 7, 12)
}

// Bits of integers are those of two's complement.
func TestLowerBits(t *testing.T) {
	at := "at = torch.to(x, 4)\n" // 1, -2, 3
	gives(t, at+"return torch.__and__(at, 6)", 0, 6, 2)
	gives(t, at+"return torch.__and__(at, -2)", 0, -2, 2)
	gives(t, at+"return torch.__or__(at, 8)", 9, -2, 11)
	gives(t, at+"return torch.__xor__(at, 5)", 4, -5, 6)
	gives(t, at+"return torch.bitwise_not(at)", -2, 1, -4)
	gives(t, at+"return torch.bitwise_and(at, torch.tensor([1, 255, 2]))", 1, 254, 2)
	gives(t, at+"return torch.bitwise_right_shift(at, torch.tensor([0, 1, 1]))", 1, -1, 1)

	// The bits around the sign.
	same := func(op, mask, want string) {
		t.Helper()
		gives(t, at+"return torch.eq(torch."+op+"(at, "+mask+"), torch.tensor("+want+"))", 1, 1, 1)
	}
	const bit62, most = "4611686018427387904", "9223372036854775807"
	same("__and__", most, "[1, 9223372036854775806, 3]")
	same("__and__", bit62, "[0, "+bit62+", 0]")
	same("__and__", "9223372036854775804", "[0, 9223372036854775804, 0]")
	same("__and__", "-"+bit62, "[0, -"+bit62+", 0]") // bits 62 and 63
	same("__and__", "-1", "[1, -2, 3]")
	same("__and__", "torch.tensor([-1, "+most+", -2])", "[1, 9223372036854775806, 2]")
	same("__or__", bit62, "[4611686018427387905, -2, 4611686018427387907]")
	same("__xor__", most, "[9223372036854775806, -9223372036854775807, 9223372036854775804]")
	for _, sign := range []string{"-9223372036854775808", "-9223372036854775807", "torch.tensor([1, -9223372036854775808, 1])"} {
		fails(t, forward(at+"return torch.__and__(at, "+sign+")"), objectPickle, "torch.__and__ with a mask of the sign alone", errors.ErrUnsupported)
	}

	// A tensor of booleans takes the type of a number: truths are 1, 0, 1.
	truths := "b = torch.gt(x, 0)\n"
	gives(t, truths+"return torch.__and__(b, 2)", 0, 0, 0)
	gives(t, truths+"return torch.__and__(3, b)", 1, 0, 1)
	gives(t, truths+"return torch.__or__(b, 2)", 3, 2, 3)
	gives(t, truths+"return torch.__xor__(b, 3)", 2, 3, 2)
	gives(t, truths+"return torch.__and__(b, True)", 1, 0, 1)
	gives(t, "return torch.__and__(torch.to(x, 1), 6)", 0, 6, 2) // an int8 stays one
	if got := mustLower(t, forward(truths+"return torch.__and__(b, 2)"), objectPickle).Outputs[0].Value.DType; got != graph.Int64 {
		t.Errorf("booleans and a number give %v", got)
	}
}

// A class that is to be ignored counts neither for a loss nor for its mean.
func TestLowerIgnoredClass(t *testing.T) {
	rows := "l = torch.log(torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.5, 0.5]]))\n"
	ln := func(body string, want ...float32) {
		t.Helper()
		gives(t, rows+"v = "+body+"\nreturn torch.round(torch.mul(v, 1000))", want...)
	}
	ln("torch.nll_loss(l, torch.tensor([0, -100, 1]))", 693)
	ln("torch.nll_loss(l, torch.tensor([0, -100, 1]), None, 2)", 1386)
	ln("torch.nll_loss(l, torch.tensor([0, -100, 1]), None, 0)", 693, 0, 693)
	ln("torch.nll_loss(l, torch.tensor([0, 0, 1]), None, 1, 1)", 1040)
	ln("torch.nll_loss(l, torch.tensor([0, 0, 1]))", 924)
	ln("torch.cross_entropy_loss(l, torch.tensor([-100, 0, -100]))", 1386)
	// The data may hold the class: 1, -2, 3 become 1, -100, 1.
	gives(t, "y = torch.where(torch.gt(x, 0), torch.tensor(1), torch.tensor(-100))\nl = torch.reshape(torch.cat([x, x], 1), [-1, 2, 3])\nreturn torch.nll_loss(l, y, None, 0)", -1, 0, -3)
	probabilities := "return torch.cross_entropy_loss(torch.ones([1, 2]), torch.ones([1, 2]), "
	fails(t, forward(probabilities+"torch.ones([2]))"), objectPickle, "weights of the classes", errors.ErrUnsupported)
	fails(t, forward(probabilities+"None, 1, 0)"), objectPickle, "a class to ignore", errors.ErrUnsupported)
}

func TestLowerWindowOfOne(t *testing.T) {
	gives(t, "return torch.hann_window(1)", 1)
	gives(t, "return torch.hann_window(1, False)", 1)
	gives(t, "return torch.hann_window(2)", 0, 1)
}

// A decision after a long computation costs no more than one after a short.
func TestLowerManyDecisions(t *testing.T) {
	start := time.Now()
	body := "y = x\nn = 0\nwhile torch.ge(n, 0):\n  y = torch.tanh(y)\n  k = 1\n  if bool(torch.gt(torch.sum(y), 2)):\n    k = 2\n  else:\n    k = 1\n  n = torch.add(n, 1)\nreturn y"
	m, err := decode(t, forward(body), objectPickle)
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Lower(torchscript.LowerOptions{InputShapes: map[string][]int{"x": {graph.Batch, 3}}, Rows: 1})
	if !errors.Is(err, torchscript.ErrLimit) && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("error is %v, wanted one of a limit", err)
	}
	if took := time.Since(start); took > slowdown*time.Minute {
		t.Errorf("took %v", took)
	}
}

// Rows that are merged with a dimension before the batch come apart again.
func TestLowerMergedRows(t *testing.T) {
	gives(t, "y = torch.reshape(torch.stack([x, torch.neg(x)]), [-1, 3])\ny = torch.reshape(torch.relu(y), [2, -1, 3])\nreturn torch.sub(y[0], y[1])", 1, -2, 3)
}

// Views share memory with the tensor that they are views of.
func TestLowerInPlace(t *testing.T) {
	gives(t, "y = torch.mul(x, 1)\n_0 = torch.add_(y, 1)\nreturn y", 2, -1, 4)
	gives(t, "y = torch.mul(x, 1)\nz = y\n_0 = torch.relu_(z)\nreturn y", 1, 0, 3)
	gives(t, "y = torch.mul(x, 1)\nv = torch.slice(y, 1, 1)\n_0 = torch.zero_(v)\nreturn y", 1, 0, 0)
	gives(t, "y = torch.mul(x, 1)\nv = torch.slice(y, 1, 1)\n_0 = torch.add_(y, 1)\nreturn v", -1, 4)
	gives(t, "y = torch.mul(x, 1)\nv = torch.select(torch.unsqueeze(y, 1), 2, 0)\n_0 = torch.fill_(v, 9)\nreturn y", 9, -2, 3)
	gives(t, "y = torch.mul(x, 1)\na = torch.slice(y, 1, 0, 2)\nb = torch.slice(y, 1, 1, 3)\n_0 = torch.fill_(a, 5)\n_1 = torch.add_(b, 1)\nreturn torch.cat([y, a, b], 1)",
		5, 6, 4, 5, 6, 6, 4)
	gives(t, "y = torch.mul(x, 1)\n_0 = torch.copy_(torch.slice(y), torch.neg(x))\nreturn y", -1, 2, -3)
	gives(t, "y = torch.clone(x)\n_0 = torch.zero_(y)\nreturn x", 1, -2, 3)
}

func TestLowerRefuses(t *testing.T) {
	unsupported := errors.ErrUnsupported
	refused := func(body, want string) {
		t.Helper()
		fails(t, forward(body), objectPickle, want, unsupported)
	}
	refused("if bool(torch.gt(torch.select(torch.select(torch.ones([1, 3]), 0, 0), 0, 0), 2)):\n  return x\ny = torch.bogus(x)\nreturn y", "unsupported: operator torch.bogus at code/__torch__/m.py:8:")
	refused("s = torch.sum(x, [1])\nif bool(torch.gt(s, 0)):\n  return x\nreturn torch.neg(x)", "unsupported: data-dependent if at code/__torch__/m.py:7:")
	refused("s = torch.sum(x, [1])\nwhile bool(torch.gt(s, 0)):\n  s = torch.sub(s, 1)\nreturn s", "unsupported: data-dependent")
	refused("return torch.sum(x)", "rows of the batch would be mixed")
	refused("return torch.select(x, 0, 0)", "one row of a batch")
	refused("return torch.mul(x, torch.size(x, 0))", "number of rows")
	refused("if torch.eq(torch.size(x, 0), 1):\n  return x\nreturn torch.neg(x)", "number of rows")
	refused("return torch.dropout(x, 0.5, True)", "in training")
	refused("return torch.svd(x)", "operator torch.svd")
	refused("return 3", "returns a int")
	refused("return ops.torchvision.nms(x, x, 0.5)", "function ops.torchvision.nms")
	refused("return torch.reshape(torch.transpose(x, 0, 1), [torch.size(x, 0), 3])", "rows of the batch would be mixed")
	merged := "y = torch.reshape(torch.stack([x, x]), [-1, 3])\n" // the two copies one behind the other
	refused(merged+"return torch.reshape(y, [-1, 6])", "rows of the batch would be mixed")
	refused(merged+"z = torch.reshape(torch.cat([x, x], 1), [-1, 3])\nreturn torch.add(y, z)", "rows of the batch would be mixed")
	refused("return torch.cat([x, x])", "rows of the batch would be mixed")
	refused("z = torch.mul(x, 1)\nv = torch.contiguous(torch.slice(z, 1, 0, 2))\n_0 = torch.zero_(v)\nreturn z", "may share memory")
	refused("z = torch.mul(x, 1)\nv = torch.reshape(torch.slice(z, 1, 0, 2), [-1, 1, 2])\n_0 = torch.zero_(z)\nreturn v", "may share memory")
	refused("v = torch.expand(torch.slice(x, 1, 0, 1), [-1, 3])\n_0 = torch.zero_(v)\nreturn v", "writing to an expanded tensor")
}

func TestLowerErrors(t *testing.T) {
	failed := func(body, want string) {
		t.Helper()
		fails(t, forward(body), objectPickle, want, nil)
	}
	failed("ops.prim.RaiseException(\"bad input\", \"builtins.ValueError\")\nreturn x", "the code raises: bad input")
	failed("return torch.linear(x, torch.ones([4, 7]))", "m.py:6:")
	failed("return y", "name y is not defined")
	failed("return torch.mul(x, 1 // 0)", "division by zero")
	failed("l = [x]\nreturn l[3]", "index 3 of a list of 1")
	failed("return CONSTANTS.c0", "CONSTANTS.c0 is not in constants.pkl")
	failed("return self.missing", "has no attribute missing")
	failed("return torch.cat([], 1)", "no tensors")
	failed("return torch.relu(x, x)", "2 arguments")
	failed("return torch.linear(x)", "argument 2 is missing")
	failed("a, b, = [x]\nreturn a", "1 values are unpacked into 2 names")
	failed("assert torch.eq(1, 2), \"sizes differ\"\nreturn x", "sizes differ")
}

// Code that would run for ever, or grow without end, is stopped.
func TestLowerBounds(t *testing.T) {
	bounded := func(code string) {
		t.Helper()
		start := time.Now()
		if _, err := lower(t, code, objectPickle); err == nil {
			t.Errorf("no error in\n%s", code)
		}
		// What has no bound takes minutes; a busy machine makes a second of milliseconds.
		if took := time.Since(start); took > slowdown*10*time.Second {
			t.Errorf("took %v:\n%s", took, code)
		}
	}
	for _, body := range []string{
		"while True:\n  pass\nreturn x",
		"while True:\n  x = torch.mul(x, 2)\nreturn x",
		"while True:\n  x = torch.cat([x, x], 1)\nreturn x",
		"s = \"ab\"\nwhile True:\n  s = torch.add(s, s)\nreturn x",
		"s = \"{}{}\"\nwhile True:\n  s = torch.format(s, s, s)\nreturn x",
		"l = [1]\nwhile True:\n  l = torch.add(l, l)\nreturn x",
		"l = [1]\nwhile True:\n  _0 = torch.append(l, l)\nreturn x",
		"l = [x]\n_0 = torch.append(l, l)\n_1 = torch.append(l, l)\nreturn l",
		"l = [1]\n_0 = torch.append(l, l)\n_0 = torch.append(l, l)\nm = [1]\n_1 = torch.append(m, m)\n_1 = torch.append(m, m)\nif torch.eq(l, m):\n  return x\nreturn torch.bogus(x)",
		"l = [1]\nl = torch.mul(l, 1000000000000)\nreturn x",
		"for i in range(1000000000000):\n  pass\nreturn x",
		"for i in range(400000):\n  for j in range(400000):\n    pass\nreturn x",
		"return torch.add(x, torch.zeros([1000000000, 1000000000]))",
		"return torch.add(x, torch.arange(1000000000000))",
		"return torch.add(x, torch.eye(60000))",
		"return torch.repeat(x, [1, 1000000000000])",
		"n = 2\nwhile True:\n  n = torch.pow(n, 62)\nreturn x",
		"y = torch.ones([1000, 1000])\nwhile bool(torch.lt(torch.max(y), 0.)):\n  pass\nwhile bool(torch.gt(torch.max(y), 0.)):\n  y = torch.add(y, 1)\nreturn x",
		"l = torch.split(torch.ones([60000]), 1)\nwhile True:\n  l = torch.split(torch.ones([60000]), 1)\nreturn x",
		"return (self).forward(x, )",
	} {
		bounded(forward(body))
	}
}

func TestLowerState(t *testing.T) {
	tensor := "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x03tQK\x00(K\x03t(K\x01t\x89ccollections\nOrderedDict\n)RtR"
	object := objectWith("h", tensor, "n", "K\x05", "l", "]")
	withState := func(body string) (*graph.Graph, error) {
		code := class("  h : Tensor\n  n : int\n  def forward(self: __torch__.m.M,\n    x: Tensor) -> Tensor:\n" + indent(body))
		m, err := decodeMembers(t, "data.pkl", object, "data/0", "\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40", "constants.pkl", emptyPickle, "code/__torch__/m.py", code)
		if err != nil {
			t.Fatal(err)
		}
		return m.Lower(torchscript.LowerOptions{InputShapes: map[string][]int{"x": {graph.Batch, 3}}})
	}
	refused := func(body string) {
		t.Helper()
		if _, err := withState(body); err == nil || !strings.Contains(err.Error(), "between calls") || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", body, err)
		}
	}
	refused("y = torch.add(x, self.h)\n_0 = torch.copy_(self.h, torch.ones([3]))\nreturn y")
	refused("y = torch.add(x, self.h)\nself.h = torch.ones([3])\nreturn y")
	refused("n = self.n\nself.n = torch.add(n, 1)\nreturn torch.mul(x, n)")
	refused("_0 = torch.append(self.l, 1)\nreturn x")

	g, err := withState("_0 = torch.add_(self.h, 1)\nreturn torch.mul(x, 2)") // a counter that nothing reads
	if err != nil {
		t.Fatal(err)
	}
	if out := run(t, g, 1, 2, 3)[0]; out.At(2) != 6 {
		t.Errorf("gives %v", out.F32)
	}
	g, err = withState("self.n = 7\nreturn torch.mul(x, self.n)")
	if err != nil {
		t.Fatal(err)
	}
	if out := run(t, g, 1, 2, 3)[0]; out.At(2) != 21 {
		t.Errorf("gives %v", out.F32)
	}
}

func TestLowerOutputs(t *testing.T) {
	named := func(body string, want ...string) {
		t.Helper()
		g := mustLower(t, forward(body), objectPickle)
		var got []string
		for _, o := range g.Outputs {
			got = append(got, o.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: outputs %v, want %v", body, got, want)
		}
	}
	named("return x", "out")
	named("return (x, torch.neg(x))", "out0", "out1")
	named("return (x, (torch.neg(x), torch.relu(x)))", "out0", "out1", "out2")
	named("return [x, x]", "out0", "out1")
	named("return {\"mean\": x, \"value\": torch.neg(x)}", "mean", "value")
}

func TestLowerMethods(t *testing.T) {
	code := class("  def forward(self: __torch__.m.M,\n    x: Tensor) -> Tensor:\n    return x\n" +
		"  def act(self: __torch__.m.M,\n    x: Tensor,\n    deterministic: bool=False) -> Tensor:\n" +
		"    if torch.__not__(deterministic):\n      x0 = torch.add(x, torch.randn_like(x))\n    else:\n      x0 = x\n    return x0\n")
	m, err := decode(t, code, objectPickle)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Methods(); !slices.Equal(got, []string{"forward", "act"}) || !m.HasSampling() {
		t.Errorf("methods %v, sampling %v", got, m.HasSampling())
	}
	draws := func(deterministic bool) int {
		t.Helper()
		g, err := m.Lower(torchscript.LowerOptions{Method: "act", Deterministic: deterministic, InputShapes: map[string][]int{"x": {graph.Batch, 2}}})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, node := range g.Nodes {
			if node.Op == graph.OpNormal {
				n++
			}
		}
		return n
	}
	if draws(true) != 0 || draws(false) != 1 {
		t.Errorf("%d draws when deterministic, %d when not", draws(true), draws(false))
	}
	_, err = m.Lower(torchscript.LowerOptions{Method: "fly"})
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "forward, act") {
		t.Errorf("an unknown method: %v", err)
	}
}

func TestLowerInfersShapes(t *testing.T) {
	inferred := func(body string, want graph.Shape) {
		t.Helper()
		m, err := decode(t, forward(body), objectPickle)
		if err != nil {
			t.Fatal(err)
		}
		g, err := m.Lower(torchscript.LowerOptions{})
		if err != nil {
			t.Errorf("%s: %v", body, err)
			return
		}
		if got := g.Inputs[0].Shape; !got.Equal(want) {
			t.Errorf("%s: input is %v, want %v", body, got, want)
		}
	}
	inferred("return torch.linear(x, torch.ones([4, 7]))", graph.Shape{-1, 7})
	inferred("return torch.linear(torch.relu(torch.div(x, 2.)), torch.ones([4, 7]))", graph.Shape{-1, 7})
	inferred("return torch.sub(x, torch.ones([9]))", graph.Shape{-1, 9})
	inferred("return torch.sub(x, torch.ones([1, 9]))", graph.Shape{-1, 9})
	inferred("return torch.addmm(torch.ones([4]), x, torch.t(torch.ones([4, 6])))", graph.Shape{-1, 6})
	inferred("return torch.matmul(torch.flatten(x, 1), torch.ones([6, 4]))", graph.Shape{-1, 6})
	inferred("y = torch.view(x, [torch.size(x, 0), -1])\nreturn torch.linear(y, torch.ones([4, 5]))", graph.Shape{-1, 5})
	inferred("return torch.layer_norm(x, [8])", graph.Shape{-1, 8})
	inferred("if torch.ne(5, torch.size(x, -1)):\n  ops.prim.RaiseException(\"bad width\")\nreturn torch.relu(x)", graph.Shape{-1, 5})
	inferred("if torch.ne(torch.size(x), [torch.size(x, 0), 5]):\n  ops.prim.RaiseException(\"bad width\")\nreturn torch.relu(x)", graph.Shape{-1, 5})

	needs := func(body string) {
		t.Helper()
		m, err := decode(t, forward(body), objectPickle)
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Lower(torchscript.LowerOptions{})
		var need *torchscript.NeedShapeError
		if !errors.As(err, &need) || need.Input != "x" || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", body, err)
		}
	}
	needs("return torch.relu(x)")
	needs("return torch.conv2d(x, torch.ones([4, 3, 2, 2]))")
	needs("return torch.slice(x, 1, 0, 2)")
	needs("return torch.mul(x, torch.size(x, 1))")
	needs("return torch.view(x, [torch.size(x, 0), torch.size(x, 1)])")
	needs("return torch.view(x, [torch.size(x, 0), torch.floordiv(torch.size(x, 1), 2), 2])")
	needs("if torch.ne(torch.dim(x), 4):\n  ops.prim.RaiseException(\"expected 4D input\")\nreturn torch.linear(x, torch.ones([4, 7]))")
}
