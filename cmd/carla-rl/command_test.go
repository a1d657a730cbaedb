package main

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

type sampleShared struct {
	URL string `default:"http://here" env:"SAMPLE_URL" placeholder:"URL" help:"Where."`
}

type sampleCmd struct {
	From    string        `arg:"" help:"What to read."`
	More    []string      `arg:"" optional:"" help:"What else."`
	Kind    string        `enum:"one,two" default:"one" help:"Kind."`
	Name    string        `required:"" placeholder:"NAME" help:"Name."`
	Lists   []int         `default:"1,16" help:"Numbers."`
	Whole   []string      `short:"w" sep:"none" help:"Taken with commas."`
	Maybe   *bool         `negatable:"" help:"Unless it is said."`
	Seed    *uint64       `help:"Seed."`
	Rate    float64       `default:"0.5" help:"Rate."`
	Time    time.Duration `default:"1m" help:"Time."`
	N       int           `name:"number" help:"Count."`
	MaxABS  float64       `help:"Limit."`
	Quiet   bool          `help:"Say nothing."`
	private int           //nolint:unused // It is there to be left alone.
	sampleShared
}

func (c *sampleCmd) Run(stdio) error { return nil }

// TestCommandOfStruct reads command lines into the fields of a struct.
func TestCommandOfStruct(t *testing.T) {
	parse := func(t *testing.T, args ...string) (*sampleCmd, error) {
		t.Helper()
		var c sampleCmd
		var chosen runner
		command := newCommand("sample", "A sample.", &c, &chosen)
		command.SetArgs(args)
		command.SetOut(io.Discard)
		err := command.Execute()
		if err == nil && chosen != runner(&c) {
			t.Errorf("%v: chose %v", args, chosen)
		}
		return &c, err
	}
	t.Setenv("SAMPLE_URL", "")
	plain := sampleCmd{From: "a", Kind: "one", Name: "n", Lists: []int{1, 16}, Rate: 0.5, Time: time.Minute, sampleShared: sampleShared{"http://here"}}
	yes, no, seed := true, false, uint64(7)
	for _, test := range []struct {
		args   string
		change func(c *sampleCmd)
	}{
		{"a --name n", func(*sampleCmd) {}},
		{"--name=n a b c", func(c *sampleCmd) { c.More = []string{"b", "c"} }},
		{"a --name n --kind two --lists 3,4 --lists 5", func(c *sampleCmd) { c.Kind, c.Lists = "two", []int{3, 4, 5} }},
		{"a --name n -w x,y --whole z", func(c *sampleCmd) { c.Whole = []string{"x,y", "z"} }},
		{"a --name n --maybe --seed 7 --quiet", func(c *sampleCmd) { c.Maybe, c.Seed, c.Quiet = &yes, &seed, true }},
		{"a --name n --no-maybe --rate -2 --time 90s --number 0x10 --max-abs 1e-3", func(c *sampleCmd) {
			c.Maybe, c.Rate, c.Time, c.N, c.MaxABS = &no, -2, 90*time.Second, 16, 1e-3
		}},
		{"a --name n --url unix:///x -- --odd", func(c *sampleCmd) { c.URL, c.More = "unix:///x", []string{"--odd"} }},
	} {
		want := plain
		test.change(&want)
		if got, err := parse(t, strings.Fields(test.args)...); err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", test.args, *got, err, want)
		}
	}
	for args, want := range map[string]string{
		"a":                        "missing flags: --name=NAME",
		"--name n":                 "expected <from>",
		"a --name n --kind three":  "expected one of one, two",
		"a --name n --lists 1,x":   "expected a whole number",
		"a --name n --seed -1":     "expected a whole number, 0 or more",
		"a --name n --rate fast":   "expected a number",
		"a --name n --time 5":      "expected a time such as 90s or 10m",
		"a --name n --quiet=loud":  "expected true or false",
		"a --name n --no-maybe=no": "expected true or false",
		"a --name n --private 1":   "unknown flag: --private",
	} {
		if _, err := parse(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", args, err, want)
		}
	}
	t.Setenv("SAMPLE_URL", "http://there")
	if c, err := parse(t, "a", "--name", "n"); err != nil || c.URL != "http://there" {
		t.Errorf("got %q, %v", c.URL, err)
	}
}

// TestHelpShowsEveryFlag prints the help of every command.
func TestHelpShowsEveryFlag(t *testing.T) {
	var out bytes.Buffer
	if code := run([]string{"key", "new", "--help"}, stdio{out: &out, err: io.Discard}); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	for _, want := range []string{"Usage: carla-rl key new --name=NAME [flags]\n", "Examples:\n", "--scope SCOPE", "-h, --help"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
	for _, c := range commandLine(nil, new(runner)).Commands() {
		out.Reset()
		if code := run([]string{c.Name(), "--help"}, stdio{out: &out, err: io.Discard}); code != exitOK || !strings.Contains(out.String(), wrapped(c.Short, 0)) {
			t.Errorf("%s: exit code %d, %s", c.Name(), code, out.String())
		}
	}
}
