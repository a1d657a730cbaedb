//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// binary is the program, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "footprint-test-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		if binary = os.Getenv("CARLA_RL_BINARY"); binary == "" {
			if binary, err = build(dir); err != nil {
				panic(err)
			}
		}
		return m.Run()
	}())
}

// value is the row that begins as it is named.
func value(t *testing.T, rows []row, what string) float64 {
	t.Helper()
	for _, r := range rows {
		if strings.HasPrefix(r.What, what) {
			return r.Value
		}
	}
	t.Fatalf("no row %q in %+v", what, rows)
	return 0
}

// After a hundred thousand requests the server has what it will have after a
// million, of which `footprint memory` tells: requests leave nothing behind.
func TestMemoryAfterRequests(t *testing.T) {
	rows, err := memory(options{binary: binary, n: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	if sent := value(t, rows, "requests sent"); sent != 100_000 {
		t.Errorf("%v requests were sent", sent)
	}
	if got := value(t, rows, "resident after the requests"); got > 24 {
		t.Errorf("%.1f MiB are resident, at most 24 may be", got)
	}
}

// Many models load, each answers, and they take little more than their weights.
func TestManyModels(t *testing.T) {
	const n, mostMiB = 200, 128 // a thousand may take 512
	rows, err := models(options{binary: binary, scratch: t.TempDir(), n: n})
	if err != nil {
		t.Fatal(err) // One that does not answer is an error too.
	}
	for _, what := range []string{"resident with 200 models", "resident after a request to each"} {
		if got := value(t, rows, what); got > mostMiB {
			t.Errorf("%s: %.1f MiB, at most %d may be", what, got, mostMiB)
		}
	}
}

// The answers of two models of a fleet differ: their weights do.
func TestModelsOfAFleetDiffer(t *testing.T) {
	o := options{binary: binary, scratch: t.TempDir(), n: 2}
	if _, err := models(o); err != nil {
		t.Fatal(err)
	}
	a, err := os.ReadFile(filepath.Join(o.scratch, "all", "driver-0000", "model.pt"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(o.scratch, "all", "driver-0001", "model.pt"))
	if err != nil {
		t.Fatal(err)
	}
	if string(a) == string(b) || len(a) != len(b) {
		t.Errorf("%d and %d bytes, the same: %v", len(a), len(b), string(a) == string(b))
	}
}

// Both artifacts of `footprint start` answer.
func TestFirstAnswers(t *testing.T) {
	rows, err := start(options{binary: binary, scratch: t.TempDir(), n: 1})
	if err != nil || len(rows) != 2 {
		t.Fatalf("%+v, %v", rows, err)
	}
}
