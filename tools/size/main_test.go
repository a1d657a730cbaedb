package main

import (
	"strings"
	"testing"
)

func TestPartOf(t *testing.T) {
	modules := []string{"example.org/a", "example.org/a/b/v2", "gopkg.in/natefinch/lumberjack.v2"}
	for symbol, want := range map[string]string{
		module + "/internal/format/onnx.(*lowering).conv": "internal/format",
		module + "/internal/kernel.gemvAVX2.abi0":         "internal/kernel",
		module + ".Open":   "carlarl",
		"main.main":        "cmd/carla-rl",
		"runtime.mallocgc": partGo,
		"vendor/golang.org/x/crypto/chacha20poly1305.Seal":              partGo,
		"slices.SortFunc[go.shape.*" + module + "/internal/graph.Node]": partGo,
		"example.org/a.F":                                    "example.org/a",
		"example.org/a/c.(*T).F.func1":                       "example.org/a",
		"example.org/a/b/v2/x.F":                             "example.org/a/b/v2",
		"example.org/ab.F":                                   partGo,
		"type:.eq.example.org/a.T":                           "example.org/a",
		"gopkg.in/natefinch/lumberjack%2ev2.(*Logger).Write": "gopkg.in/natefinch/lumberjack.v2",
		"_rt0_amd64_linux":                                   partGo,
	} {
		if got := partOf(packageOf(symbol), modules); got != want {
			t.Errorf("%s: %q, want %q", symbol, got, want)
		}
	}
}

func TestCompare(t *testing.T) {
	f := func(parts, budget map[string]int, want int, says string) {
		t.Helper()
		var b strings.Builder
		if got := compare(&b, parts, budget); got != want || !strings.Contains(b.String(), says) {
			t.Errorf("%d, want %d and %q:\n%s", got, want, says, b.String())
		}
	}
	f(map[string]int{"a": 2048}, map[string]int{"a": 2}, 0, "2         2")
	f(map[string]int{"a": 2049}, map[string]int{"a": 2}, 1, "FAIL")
	f(map[string]int{"a": 1, "b": 1}, map[string]int{"a": 2}, 1, "it has no budget")
	f(map[string]int{"a": 1}, map[string]int{"a": 2, "b": 2}, 1, "not in the program any more")
}
