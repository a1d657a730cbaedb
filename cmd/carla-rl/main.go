// Command carla-rl serves trained driving and robot policies.
//
// What enters are arguments, what leaves is the life of one process: one file
// holds one subcommand, and serve.go wires the packages of the server from the
// artifact to the socket, top to bottom. Nothing imports this package.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// Exit codes, as docs/exit-codes.md tells them.
const (
	exitOK      = 0
	exitRefused = 1 // A file, an artifact or a request was refused, or the work failed.
	exitUsage   = 2 // The command line or the configuration is wrong.
	exitForced  = 3 // The server was told to stop and had to cut requests off.
)

// cli is the command line: one field a subcommand.
type cli struct {
	Serve   serveCmd   `cmd:"" help:"Serve a policy, or every policy below a folder, over HTTP."`
	Predict predictCmd `cmd:"" help:"Run a policy, a bare network or a preprocessor on a file of inputs."`
	Inspect inspectCmd `cmd:"" help:"Print what was understood of a folder or a file, and from where."`
	Verify  verifyCmd  `cmd:"" help:"Hold the numbers of a policy, a network or a preprocessor to those of other engines and of its card."`
	Diff    diffCmd    `cmd:"" help:"Compare the weights and the actions of two policies."`
	Replay  replayCmd  `cmd:"" help:"Run recorded steps through another version and report how far its actions are."`
	Convert convertCmd `cmd:"" help:"Write a policy as ONNX, or as an artifact folder with card, digests and golden vectors."`

	Experience experienceCmd `cmd:"" help:"Read what policies saw and did, write it to files, and delete it."`

	Bench benchCmd `cmd:"" help:"Measure a policy on this machine, alone and behind the server."`

	Status   statusCmd   `cmd:"" help:"Print what a running server serves, and since when."`
	Reload   reloadCmd   `cmd:"" help:"Have a running server look for changed versions now."`
	Rollback rollbackCmd `cmd:"" help:"Have a running server go back to the version that answered before."`

	Key keyCmd `cmd:"" help:"Make keys for the file of keys."`

	Doctor     doctorCmd     `cmd:"" help:"Name what keeps a configuration, an artifact folder and Kubernetes manifests from working, with the mend."`
	Check      checkCmd      `cmd:"" help:"Say everything that is wrong with a configuration or an artifact."`
	Version    versionCmd    `cmd:"" help:"Print the version of this program."`
	Completion completionCmd `cmd:"" help:"Print the completion script of a shell."`
}

const description = `Examples:
  carla-rl serve                        the demo policy, on http://127.0.0.1:8080
  carla-rl serve ./artifacts            your own
  carla-rl inspect model.pt             what is in a file, without running it
  carla-rl predict --model ./artifacts --input obs.json
  carla-rl convert agent.zip ./artifacts
  carla-rl verify ./artifacts           its numbers against other engines

Exit codes: 0 done, 1 refused or failed, 2 command line or configuration wrong,
3 stopped with requests cut off.`

// stdio are the streams of the process.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	os.Exit(run(os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}))
}

// run is the life of the program for one command line.
func run(args []string, s stdio) int {
	var chosen runner
	c := commandLine(args, &chosen)
	c.SetHelpFunc(func(c *cobra.Command, _ []string) { writeHelp(s.out, c) })
	c.SetArgs(args)
	if len(args) == 0 {
		c.SetArgs([]string{"--help"})
	}
	if err := c.Execute(); err != nil {
		fmt.Fprintf(s.err, "carla-rl: %s (see carla-rl --help)\n", oneLine(err.Error()))
		return exitUsage
	}
	if chosen == nil { // Help was asked for.
		return exitOK
	}
	work := func() error { return chosen.Run(s) }
	if _, ok := chosen.(*serveCmd); !ok {
		work = guarded(work)
	}
	if err := work(); err != nil {
		return report(s.err, err)
	}
	return exitOK
}

// commandLine is the command of the program. Commands of cobra's own that would
// stand beside ours are left out.
func commandLine(args []string, chosen *runner) *cobra.Command {
	cobra.EnableCommandSorting = false
	c := newCommand("carla-rl", "A server for trained driving and robot policies.", grammar(args), chosen)
	c.Long = description
	c.CompletionOptions.DisableDefaultCmd = true
	c.SetHelpCommand(&cobra.Command{Use: "no-help", Hidden: true})
	return c
}

// grammar is what the arguments are parsed by: the whole command line, or, of
// `serve` alone, that subcommand. To read the others' flags takes 2 ms, which
// is a good part of the time to a server's first answer.
func grammar(args []string) any {
	if len(args) > 0 && args[0] == "serve" {
		return &struct {
			Serve serveCmd `cmd:"" help:"Serve a policy, or every policy below a folder, over HTTP."`
		}{}
	}
	return &cli{}
}

// guarded makes an error of a panic: a tool that reads a file of a stranger
// answers with one line, whatever is in the file. A server that panics is to
// say where.
func guarded(work func() error) func() error {
	return func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("internal error: %v", r)
			}
		}()
		return work()
	}
}

// exitError is an error with the exit code that it leads to.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usage marks an error as one of the command line or the configuration.
func usage(err error) error { return &exitError{exitUsage, err} }

// hinted is an error that says what the operator can do.
type hinted interface{ Hint() string }

// report prints an error on one line, with its hint where it has one, and
// returns the exit code.
func report(w io.Writer, err error) int {
	line := oneLine(err.Error())
	if h := hinted(nil); errors.As(err, &h) && h.Hint() != "" {
		line += " (" + oneLine(h.Hint()) + ")"
	}
	fmt.Fprintf(w, "carla-rl: %s\n", line)
	if e := (*exitError)(nil); errors.As(err, &e) {
		return e.code
	}
	return exitRefused
}
