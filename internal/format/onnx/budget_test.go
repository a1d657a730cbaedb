package onnx_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// graphAttribute is the type of an attribute that is a graph.
const graphAttribute = 5

// integer is an initializer of one integer.
func integer(name string, n uint64) []byte {
	return msg(5, num(2, 7), num(7, n), str(8, name))
}

// turns is a Loop of n turns (an initializer) around the given nodes.
func turns(n, name string, nodes ...[]byte) []byte {
	parts := [][]byte{msg(11, str(1, "i"+name)), msg(11, str(1, "c"+name)), msg(11, str(1, "s"+name)), msg(12, str(1, "c"+name)), msg(12, str(1, "r"+name))}
	body := msg(5, str(1, "body"), num(20, graphAttribute), msg(6, append(parts, nodes...)...))
	return nodeOf("Loop", []string{n, "", "x"}, []string{name}, body)
}

// TestWorkIsBounded: what a small file can ask for by loops and functions
// inside each other ends soon, also on a
// slow machine, and with little memory.
func TestWorkIsBounded(t *testing.T) {
	dead := nodeOf("Relu", []string{"x"}, []string{"nowhere"})
	relu := func(in, out string) []byte { return nodeOf("Relu", []string{in}, []string{out}) }
	nested := func(depth int, innermost []byte) []byte {
		at := innermost
		for d := depth - 1; d >= 0; d-- {
			name := fmt.Sprintf("l%d", d)
			if d == 0 {
				name = "y"
			}
			if d == depth-1 {
				at = turns("n", name, innermost, relu("x", "r"+name))
			} else {
				at = turns("n", name, at, relu(fmt.Sprintf("l%d", d+1), "r"+name))
			}
		}
		return at
	}
	var doubled []byte
	for i := range 40 {
		name := func(k int) string { return fmt.Sprintf("F%d", k) }
		inner := msg(7, str(1, "a"), str(2, "b"), str(4, "Relu"))
		if i < 39 {
			inner = join(
				msg(7, str(1, "a"), str(2, "h"), str(4, name(i+1)), str(7, "own")),
				msg(7, str(1, "h"), str(2, "b"), str(4, name(i+1)), str(7, "own")))
		}
		doubled = join(doubled, msg(25, str(1, name(i)), str(4, "a"), str(5, "b"), inner, msg(9, num(2, 18)), msg(9, str(1, "own"), num(2, 1)), str(10, "own")))
	}
	for name, c := range map[string][]byte{
		"loops":       model(18, integer("n", 4096), nested(4, dead)),
		"empty loops": model(18, integer("n", 4096), nested(11, dead)),
		"dead nodes":  model(18, integer("n", 4096), turns("n", "y", relu("x", "ry"), unused(2000))),
		"one loop":    model(18, integer("n", 4096), turns("n", "y", relu("sy", "ry"))),
		"functions":   join(model(18, nodeOf("F0", []string{"x"}, []string{"y"}, str(7, "own"))), doubled, msg(8, str(1, "own"), num(2, 1))),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			err := lower(c, nil)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			used := after.TotalAlloc - before.TotalAlloc
			t.Logf("%d bytes, %v, %d MiB: %v", len(c), took, used>>20, err)
			// Without the limit of steps it takes minutes.
			if took > 30*time.Second || used > 128<<20 {
				t.Errorf("took %v and %d MiB", took, used>>20)
			}
			if name != "one loop" && (err == nil || !strings.Contains(err.Error(), "more than 500000 steps")) {
				t.Errorf("%v, want a limit of steps", err)
			}
		})
	}
}

// unused are nodes that no output depends on.
func unused(n int) []byte {
	var all []byte
	for i := range n {
		all = join(all, nodeOf("Relu", []string{"x"}, []string{fmt.Sprintf("u%d", i)}))
	}
	return all
}
