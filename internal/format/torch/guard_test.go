package torch_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
)

// refused says what is wrong with a refusal.
func refused(err error, want string) error {
	fe := new(torch.FormatError)
	switch {
	case err == nil:
		return errors.New("loads")
	case !errors.As(err, &fe):
		return fmt.Errorf("%T is no FormatError: %w", err, err)
	case !strings.Contains(err.Error(), want):
		return fmt.Errorf("got %q, want %q in it", err, want)
	case len(err.Error()) > 500:
		return fmt.Errorf("a message of %d bytes", len(err.Error()))
	}
	return nil
}

// guarded runs f within the time and the memory that one file may take, and
// looks for what a hostile file would leave behind.
func guarded(t *testing.T, f func() error) {
	t.Helper()
	// It takes milliseconds; what grows with what a file claims would take minutes.
	const maxBytes, maxTime = 64 << 20, 10 * time.Second
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	err := f()
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Error(err)
	}
	if took > slowdown*maxTime {
		t.Errorf("took %v", took)
	}
	// All that was allocated, so no less than what was held at any time.
	if n := after.TotalAlloc - before.TotalAlloc; n > maxBytes {
		t.Errorf("allocated %d MiB", n>>20)
	}
	if found, _ := os.ReadDir("/tmp"); found != nil {
		for _, e := range found {
			if strings.HasPrefix(e.Name(), "pwned-") {
				t.Errorf("/tmp/%s was made", e.Name())
			}
		}
	}
}

// corpus returns the folder of real artifacts, or false after saying what is
// not run without it.
func corpus(t *testing.T, cases int) (string, bool) {
	t.Helper()
	root := os.Getenv("CARLA_RL_CORPUS")
	if root == "" {
		t.Logf("CARLA_RL_CORPUS is not set: %d cases not run", cases)
		return "", false
	}
	return root, true
}
