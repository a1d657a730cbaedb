package main

import (
	"strings"
	"unicode"
)

// errorLineMax is the number of bytes of an error that are shown: the names in
// a file may be as long as whoever made it liked.
const errorLineMax = 2000

// oneLine makes text from a file safe to print: one line of printable
// characters, so that no file can move the cursor or forge a line.
func oneLine(s string) string {
	var b strings.Builder
	for _, r := range strings.TrimSpace(s) {
		if b.Len() > errorLineMax {
			b.WriteString("...")
			break
		}
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case !unicode.IsPrint(r):
			b.WriteRune('\uFFFD')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// printable makes each line of a text safe to print and keeps the lines.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}
