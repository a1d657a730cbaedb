//go:build e2e

package attack_test

import (
	"fmt"
	"regexp"
	"strings"
)

// traces are what a trace of a panic has, and what no client is ever told.
var traces = regexp.MustCompile(`goroutine \d+ \[|\.go:\d+|runtime error|\bpanic:|0xc0[0-9a-f]{8}|(?i)traceback`)

// leaks lists what a text has and must not: secrets, stacks, addresses of
// memory.
func leaks(text string, secrets ...string) (found []string) {
	for _, s := range secrets {
		if i := strings.Index(text, s); i >= 0 {
			found = append(found, fmt.Sprintf("the secret %.4s...: %.200q", s, text[max(0, i-100):]))
		}
	}
	if at := traces.FindStringIndex(text); at != nil {
		found = append(found, fmt.Sprintf("a trace: %.300q", text[max(0, at[0]-100):]))
	}
	return found
}
