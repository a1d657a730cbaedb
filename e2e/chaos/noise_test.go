//go:build e2e

package chaos_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a try may have of others' work on the machine to count against a promise,
// as a part of all processors, and how often a try is made again because of it.
const (
	othersMax = 0.1
	triesMax  = 4
)

// ticks is the unit of /proc: a hundredth of a second on every Linux.
const ticks = 100

// processors is how long the processors of the machine were busy, and how long
// of it for this test and its server, in seconds.
type processors struct {
	at         time.Time
	busy, ours float64
}

// spent reads the clocks of the processors. What interrupts took is nobody's.
func (p *process) spent() processors {
	s := processors{at: time.Now()}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		p.t.Fatal(err)
	}
	var user, nice, system, idle, wait, hard, soft, steal float64
	if _, err := fmt.Sscanf(string(text), "cpu %f %f %f %f %f %f %f %f", &user, &nice, &system, &idle, &wait, &hard, &soft, &steal); err != nil {
		p.t.Fatalf("/proc/stat: %v", err)
	}
	s.busy = (user + nice + system + steal) / ticks
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		p.t.Fatal(err)
	}
	s.ours = time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	for _, pid := range append([]int{p.cmd.Process.Pid}, p.beside...) {
		s.ours += spentBy(pid, true)
	}
	return s
}

// spentBy is how long a process had a processor, in seconds, with its children
// that have ended and, where that is asked for, those that have not.
func spentBy(pid int, children bool) (sum float64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The fields from the third on: user and system time are the 14th and 15th,
	// and those of children that were waited for the two behind.
	_, rest, _ := strings.Cut(string(text), ") ")
	for i, field := range strings.Fields(rest) {
		if v, err := strconv.ParseFloat(field, 64); err == nil && i >= 11 && i <= 14 {
			sum += v / ticks
		}
	}
	if !children {
		return sum
	}
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return sum
	}
	for child := range strings.FieldsSeq(string(list)) {
		if n, err := strconv.Atoi(child); err == nil {
			sum += spentBy(n, false)
		}
	}
	return sum
}

// others is the part of the machine that neither this test nor its server had
// since then.
func (p *process) others(since processors) float64 {
	now := p.spent()
	return max(0, (now.busy-since.busy)-(now.ours-since.ours)) / now.at.Sub(since.at).Seconds() / float64(runtime.NumCPU())
}

// steady tries to have promises kept, each try of which returns those that were
// broken. A time is the machine's as much as the server's: a broken promise counts
// where others left the machine alone, and has to be broken twice. A server with
// a defect breaks it in every try; a neighbour's build does so in one.
func (p *process) steady(t *testing.T, try func() (broken []string)) {
	t.Helper()
	counted := 0
	for n := 1; ; n++ {
		before := p.spent()
		broken := try()
		if t.Failed() {
			return
		}
		others := p.others(before)
		t.Logf("figure: try %d, in which others had %.0f %% of the machine: %d broken", n, 100*others, len(broken))
		if len(broken) == 0 {
			return
		}
		if others <= othersMax {
			counted++
		}
		if counted == 2 || n == triesMax {
			for _, b := range broken {
				t.Errorf("%s (in the last of %d tries; others had %.0f %% of the machine)", b, n, 100*others)
			}
			return
		}
		for _, b := range broken {
			t.Logf("not yet: %s", b)
		}
	}
}
