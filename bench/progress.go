package main

import (
	"fmt"
	"io"
	"time"
)

// progress says what is measured, how far the run is and when it will end.
type progress struct {
	out   io.Writer
	start time.Time
	total float64 // seconds that were planned
	done  float64 // of them, of the parts that are over
	name  string
	cost  float64 // of the part that runs
	began time.Time
}

func (p *progress) part(name string, cost float64) {
	if p.name != "" {
		p.done += p.cost
	}
	p.name, p.cost, p.began = name, cost, time.Now()
	p.say("")
}

// say prints a line. What is left is what was planned, by the pace so far.
func (p *progress) say(format string, args ...any) {
	at := p.done
	if p.name != "" {
		at += min(time.Since(p.began).Seconds(), p.cost)
	}
	spent := time.Since(p.start)
	left := time.Duration((p.total - at) * float64(time.Second))
	share := 0.0
	if p.total > 0 {
		share = 100 * at / p.total
	}
	fmt.Fprintf(p.out, "[%s, %2.0f %%, about %s left] %s", clock(spent), share, clock(max(left, 0)), p.name)
	if format != "" {
		fmt.Fprintf(p.out, ": "+format, args...)
	}
	fmt.Fprintln(p.out)
}

func clock(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
