// Package running is what tests ask of a server that runs: its metrics, what the
// system says of its process, and its end.
package running

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Metric sums the series of a metric, in Prometheus' text format, whose labels
// contain all that is asked for, such as `code="200"`. It is 0 where there are
// none.
func Metric(text []byte, name string, labels ...string) (sum float64) {
	for _, m := range regexp.MustCompile(`(?m)^`+name+`(\{[^}]*\})? (\S+)$`).FindAllStringSubmatch(string(text), -1) {
		all := true
		for _, l := range labels {
			all = all && strings.Contains(m[1], l)
		}
		if v, err := strconv.ParseFloat(m[2], 64); err == nil && all {
			sum += v
		}
	}
	return sum
}

// Status is a number of /proc/PID/status (proc(5)): those of memory, such as
// VmRSS and VmHWM, are in KiB.
func Status(pid int, name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+)`).FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("/proc/%d/status has no %s", pid, name)
	}
	return strconv.ParseInt(string(m[1]), 10, 64)
}

// endMax is how long a server may take to end by itself.
const endMax = time.Minute

// End asks a process to end, and waits until it has, by wait. The error says that
// it did not leave by itself, or is that of wait.
func End(p *os.Process, wait func() error) error {
	_ = p.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(endMax):
		_ = p.Kill()
		return errors.Join(fmt.Errorf("it did not stop within %v", endMax), <-done)
	}
}
