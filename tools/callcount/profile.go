package main

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// A profile is what callgrind counted for one batch of a path.
type profile struct {
	path       string
	operations int
	limit      float64            // percent by which it may rise
	total      float64            // instructions an operation
	functions  map[string]float64 // of the total, by the function's name
}

// recursion is what callgrind appends to a function that is within itself.
var recursion = regexp.MustCompile(`'\d+$`)

// readProfile reads a dump of callgrind (format 1, names compressed, positions
// by line). Costs of calls are those of the functions that are called, which
// have lines of their own, so they are left out. A dump that no path asked for
// has no name.
func readProfile(r io.Reader) (*profile, error) {
	p := &profile{functions: map[string]float64{}}
	names := map[string]string{}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	current, called := "", false
	for sc.Scan() {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "desc: Trigger: Client Request: "):
			label := strings.TrimPrefix(line, "desc: Trigger: Client Request: ")
			var err error
			f := strings.Split(label, "\t")
			if len(f) == 3 {
				p.path = f[0]
				if p.operations, err = strconv.Atoi(f[1]); err == nil {
					p.limit, err = strconv.ParseFloat(f[2], 64)
				}
			}
			if err != nil || p.operations < 1 {
				return nil, fmt.Errorf("a dump is named %q", label)
			}
		case strings.HasPrefix(line, "fn="):
			id, name, _ := strings.Cut(strings.TrimPrefix(line, "fn="), " ")
			if name != "" {
				names[id] = recursion.ReplaceAllString(name, "")
			}
			current = names[id]
		case strings.HasPrefix(line, "cfn="):
			if id, name, ok := strings.Cut(strings.TrimPrefix(line, "cfn="), " "); ok {
				names[id] = recursion.ReplaceAllString(name, "")
			}
		case strings.HasPrefix(line, "calls="):
			called = true
		case line != "" && strings.ContainsRune("+-*0123456789", rune(line[0])):
			if called {
				called = false
				continue
			}
			_, cost, _ := strings.Cut(line, " ")
			n, err := strconv.ParseFloat(cost, 64)
			if err != nil {
				return nil, fmt.Errorf("a line of costs reads %q", line)
			}
			p.functions[current] += n
		}
	}
	if p.path != "" {
		for name, n := range p.functions {
			p.functions[name] = n / float64(p.operations)
			p.total += p.functions[name]
		}
	}
	return p, sc.Err()
}
