package artifact

import (
	"regexp"
	"sync"
)

// onDemand compiles an expression when it is first used: a start that does not
// need it is not to pay for it, and the expressions of the program together
// cost a millisecond.
func onDemand(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}
