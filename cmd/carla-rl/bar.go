package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// bar is a line of a terminal that is drawn over. It draws nothing where there
// is none.
type bar struct {
	w io.Writer // nil where it is no terminal
}

const barWidth = 30

func newBar(w io.Writer) bar {
	if isTerminal(w) {
		return bar{w}
	}
	return bar{}
}

// isTerminal tells whether what is written can be drawn over.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// draw shows which share is done, of 1, and a text.
func (b bar) draw(share float64, text string) {
	share = min(1, share)
	full := int(share * barWidth)
	b.say(fmt.Sprintf("[%s%s] %3.0f %%  %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), 100*share, text))
}

// say shows a text alone, where it is not known how much there is to do.
func (b bar) say(text string) {
	if b.w != nil {
		fmt.Fprint(b.w, "\r\x1b[K"+text)
	}
}

func (b bar) clear() { b.say("") }
