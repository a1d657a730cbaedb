// Command callcount counts the instructions of the hot paths under callgrind
// and compares them with those that are recorded. Time on a shared machine
// varies by more than what a change costs; instructions do not.
//
// The paths are what tests give to tools/callcount/hot. The processor that
// valgrind shows has AVX2 and FMA and no AVX-512, whatever the machine has, so
// the counts of two machines can be compared.
//
//	callcount            compares: a path that rose by more than 2 %, or 5 % where
//	                     maps are walked, fails
//	callcount -record    writes tools/callcount/counts.json. A path that rose
//	                     by more than that is written only if the Unreleased
//	                     section of CHANGELOG.md names it in backquotes.
//	callcount -packages ./internal/plan -paths 'lstm'    counts those alone
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
)

// recorded is the file of the counts that are compared with.
const recorded = "tools/callcount/counts.json"

func main() {
	write := flag.Bool("record", false, "write "+recorded)
	packages := flag.String("packages", "", "count this package alone")
	paths := flag.String("paths", "", "count the paths alone whose name matches this expression")
	flag.Parse()
	if err := run(*write, *packages, *paths); err != nil {
		fmt.Fprintln(os.Stderr, "callcount:", err)
		os.Exit(1)
	}
}

func run(write bool, pkg, paths string) error {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return errors.New("counts are those of linux/amd64; count there")
	}
	which, err := regexp.Compile(paths)
	if err != nil {
		return err
	}
	some := pkg != "" || paths != ""
	if write && some {
		return errors.New("-record counts everything: leave -packages and -paths out")
	}
	was, err := readCounts(recorded)
	if err != nil && !(write && errors.Is(err, os.ErrNotExist)) {
		return err
	}
	now, err := measure(pkg, which)
	if err != nil {
		return err
	}
	// What the collector or another thread did meanwhile is no rise.
	if again := now.rose(was); len(again) > 0 {
		second, err := measure(pkg, regexp.MustCompile("^("+strings.Join(again, "|")+")$"))
		if err != nil {
			return err
		}
		now.lower(second)
	}
	changelog, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		return err
	}
	rose := compare(os.Stdout, was, now, some, unreleased(string(changelog)), write)
	if write {
		if rose > 0 {
			return fmt.Errorf("not recorded: %d paths rose; make them cheaper, or name each in the Unreleased section of CHANGELOG.md in backquotes and say why", rose)
		}
		return now.write(recorded)
	}
	if rose > 0 {
		return fmt.Errorf("%d paths rose, or are not recorded; where a rise is worth it, name the path in the Unreleased section of CHANGELOG.md in backquotes and run make counts-record", rose)
	}
	return nil
}
