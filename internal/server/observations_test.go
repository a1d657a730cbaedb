package server_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/server"
)

// shown collects the rows that were shown, of the first input.
type shown struct {
	mu   sync.Mutex // guards rows
	rows []float32
}

func (s *shown) of(t *server.Target) func(inputs [][]float32, row int) {
	width := t.Contract.Inputs[0].Width
	return func(inputs [][]float32, row int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.rows = append(s.rows, inputs[0][row*width])
	}
}

func (s *shown) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rows)
}

func driveAt(speeds ...int) string {
	var rows []string
	for _, v := range speeds {
		rows = append(rows, fmt.Sprintf(`{"speed":%d,"steering":0,"sensors":[0,0,0,0,0]}`, v))
	}
	return `{"observations":[` + strings.Join(rows, ",") + `]}`
}

func TestObservationsAreShown(t *testing.T) {
	seen := &shown{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Observations: server.Observations{Every: 1, Of: seen.of}})
	const requests = 20
	for i := range requests {
		if a := s.do("POST", "/predict", driveAt(i)); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	for i, v := range seen.rows {
		if v != float32(i) {
			t.Errorf("row %d has the speed %v", i, v)
		}
	}
	if seen.count() != requests {
		t.Errorf("%d of %d observations were shown", seen.count(), requests)
	}
	s.do("POST", "/predict", driveAt(100, 101, 102))
	if seen.count() != requests+1 || seen.rows[requests] < 100 {
		t.Errorf("of a request of three rows were shown %v", seen.rows[requests:])
	}
	s.do("POST", "/predict", `{"observations":[{"speed":-1,"steering":0,"sensors":[0,0,0,0,0]}]}`)
	if seen.count() != requests+1 {
		t.Error("an observation that was refused was shown")
	}
}

func TestOneOfManyObservationsIsShown(t *testing.T) {
	seen := &shown{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Observations: server.Observations{Every: 8, Of: seen.of}})
	const requests = 2000
	for range requests {
		s.do("POST", "/predict", driveAt(1))
	}
	// 250 are expected, with a standard deviation of 15.
	if n := seen.count(); n < requests/8-120 || n > requests/8+120 {
		t.Errorf("%d of %d were shown, one of 8 was asked for", n, requests)
	}
	none := &shown{}
	s = serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Observations: server.Observations{Of: none.of}})
	s.do("POST", "/predict", driveAt(1))
	if none.count() != 0 {
		t.Error("an observation was shown that nobody asked for")
	}
}

// BenchmarkSample is what a request pays for being one of 32 that are drawn of.
func BenchmarkSample(b *testing.B) {
	sample := server.NewSample(32, func([][]float32, int) {})
	b.ReportAllocs()
	for b.Loop() {
		sample()
	}
}
