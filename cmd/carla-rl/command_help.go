package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// helpWidth is the number of columns of help.
const helpWidth = 100

// writeHelp prints what a command does and takes.
func writeHelp(w io.Writer, c *cobra.Command) {
	line := c.CommandPath() + strings.TrimPrefix(c.Use, c.Name())
	below := leaves(c, "")
	switch {
	case len(below) > 0:
		line += " <command>"
	default:
		line += " [flags]"
	}
	fmt.Fprintf(w, "Usage: %s\n\n%s\n", line, wrapped(c.Short, 0))
	if c.Long != "" {
		fmt.Fprintf(w, "\n%s\n", c.Long)
	}
	fmt.Fprintf(w, "\nFlags:\n%s", c.Flags().FlagUsagesWrapped(helpWidth))
	if len(below) == 0 {
		return
	}
	fmt.Fprintf(w, "\nCommands:\n")
	for _, l := range below {
		const column = 20
		fmt.Fprintf(w, "  %-*s%s\n", column-2, l.path, wrapped(l.about, column))
	}
	fmt.Fprintf(w, "\nRun \"%s <command> --help\" for more about a command.\n", c.CommandPath())
}

// leaf is a command that does something.
type leaf struct{ path, about string }

// leaves are those below c, in the order of the structs.
func leaves(c *cobra.Command, path string) []leaf {
	var all []leaf
	for _, child := range c.Commands() {
		if child.Hidden {
			continue
		}
		at := strings.TrimSpace(path + " " + child.Name())
		if below := leaves(child, at); len(below) > 0 {
			all = append(all, below...)
		} else {
			all = append(all, leaf{at, child.Short})
		}
	}
	return all
}

// wrapped breaks a text so that it fits right of a column.
func wrapped(text string, column int) string {
	var b strings.Builder
	at := column
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case at+1+len(word) > helpWidth:
			fmt.Fprintf(&b, "\n%*s", column, "")
			at = column
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String()
}
