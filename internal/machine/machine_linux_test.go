package machine_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// statusKiB is a line of /proc/self/status in KiB.
func statusKiB(t *testing.T, name string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n"+name+":")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); !found || err != nil {
		t.Fatalf("/proc/self/status has no %s: %v", name, err)
	}
	return kib
}
