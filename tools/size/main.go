// Command size says what the program's size is made of and holds each part to
// its budget: each module that is linked, and each of our own packages with
// those below it. A part without a budget fails, so that no dependency comes in
// unseen.
//
//	size            compares with tools/size/budget.json
//	size -record    writes that file: what there is and a tenth of slack
//
// It builds the program for linux/amd64 with its symbols and adds up functions
// and data by package. The table of functions (pclntab) is laid on the parts in
// proportion to their code. Types and strings have no symbols of their own: the
// linker merges them, and they are a part by themselves.
package main

import (
	"cmp"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	budgetFile = "tools/size/budget.json"
	module     = "github.com/carla-rl/carla-rl-serving"

	partGo     = "Go"                // the standard library and the runtime
	partMerged = "types and strings" // of all parts
	partRest   = "alignment, tables" // what is none of the above
)

func main() {
	record := flag.Bool("record", false, "write "+budgetFile)
	flag.Parse()
	if err := run(*record); err != nil {
		fmt.Fprintln(os.Stderr, "size:", err)
		os.Exit(1)
	}
}

func run(record bool) error {
	dir, err := os.MkdirTemp("", "size")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "carla-rl")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-w", "-o", binary, "./cmd/carla-rl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return err
	}
	parts, err := measure(binary)
	if err != nil {
		return err
	}
	if record {
		return write(parts)
	}
	data, err := os.ReadFile(budgetFile)
	if err != nil {
		return err
	}
	budget := map[string]int{}
	if err := json.Unmarshal(data, &budget); err != nil {
		return fmt.Errorf("%s: %w", budgetFile, err)
	}
	if n := compare(os.Stdout, parts, budget); n > 0 {
		return fmt.Errorf("%d parts do not keep to their budget; where one is worth its size, run make size-record and say why in the commit", n)
	}
	return nil
}

// measure returns the bytes of each part of a program, which add up to what the
// program has without its symbols.
func measure(name string) (map[string]int, error) {
	info, err := buildinfo.ReadFile(name)
	if err != nil {
		return nil, err
	}
	f, err := elf.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	var modules []string
	for _, d := range info.Deps {
		modules = append(modules, d.Path)
	}
	code, data, total := map[string]int{}, map[string]int{}, 0
	for _, s := range f.Sections {
		if s.Type == elf.SHT_PROGBITS && s.Flags&elf.SHF_ALLOC != 0 {
			total += int(s.Size)
		}
	}
	counted := 0
	for _, s := range symbols {
		if s.Section == 0 || int(s.Section) >= len(f.Sections) || s.Size == 0 {
			continue
		}
		part := partOf(packageOf(s.Name), modules)
		switch f.Sections[s.Section].Name {
		case ".text":
			code[part] += int(s.Size)
		case ".noptrdata", ".data":
			data[part] += int(s.Size)
		case ".rodata":
			if strings.Contains(s.Name, ":") || strings.HasPrefix(s.Name, "runtime.") {
				continue // merged
			}
			data[part] += int(s.Size)
		default:
			continue
		}
		counted += int(s.Size)
	}
	section := func(name string) int {
		if s := f.Section(name); s != nil {
			return int(s.Size)
		}
		return 0
	}
	text, table := 0, section(".gopclntab")
	for _, n := range code {
		text += n
	}
	if text == 0 || table == 0 {
		return nil, errors.New("the program has no symbols or no table of functions")
	}
	parts := map[string]int{}
	for part, n := range code {
		share := int(int64(n) * int64(table) / int64(text))
		parts[part] += n + share
		counted += share
	}
	for part, n := range data {
		parts[part] += n
	}
	rodata := section(".rodata")
	for _, s := range symbols {
		if s.Section != 0 && int(s.Section) < len(f.Sections) && f.Sections[s.Section].Name == ".rodata" && !strings.Contains(s.Name, ":") && !strings.HasPrefix(s.Name, "runtime.") {
			rodata -= int(s.Size)
		}
	}
	parts[partMerged] = rodata
	parts[partRest] = max(total-counted-rodata, 0)
	return parts, nil
}

// packageOf returns the import path of a symbol's package, "" for one of the
// linker's or the compiler's.
func packageOf(symbol string) string {
	s := symbol
	for _, prefix := range []string{"type:.eq.", "type:.hash.", "go:"} {
		s = strings.TrimPrefix(s, prefix)
	}
	s, _, _ = strings.Cut(s, "[") // what a generic function is made for
	s, _, _ = strings.Cut(s, "(")
	slash := strings.LastIndexByte(s, '/')
	dot := strings.IndexByte(s[slash+1:], '.')
	if dot < 0 {
		return ""
	}
	// A dot in the last element of a path is escaped in a symbol.
	return strings.ReplaceAll(s[:slash+1+dot], "%2e", ".")
}

// partOf returns the part that a package belongs to.
func partOf(pkg string, modules []string) string {
	if pkg == "main" {
		return "cmd/carla-rl"
	}
	if rest, ok := strings.CutPrefix(pkg, module); ok {
		f := strings.Split(strings.TrimPrefix(rest, "/"), "/")
		return cmp.Or(strings.Join(f[:min(2, len(f))], "/"), "carlarl")
	}
	best := ""
	for _, m := range modules {
		if (pkg == m || strings.HasPrefix(pkg, m+"/")) && len(m) > len(best) {
			best = m
		}
	}
	return cmp.Or(best, partGo)
}

// write records a budget of what there is and a tenth more, in KiB.
func write(parts map[string]int) error {
	budget := map[string]int{}
	for part, n := range parts {
		budget[part] = kib(n+n/10) + 8
	}
	data, err := json.MarshalIndent(budget, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(budgetFile, append(data, '\n'), 0o644)
}

func kib(n int) int { return (n + 1023) / 1024 }

// compare prints the parts, the largest first, and returns how many do not keep
// to their budget.
func compare(w io.Writer, parts, budget map[string]int) (wrong int) {
	names := slices.SortedFunc(maps.Keys(parts), func(a, b string) int {
		return cmp.Or(parts[b]-parts[a], strings.Compare(a, b))
	})
	total := 0
	fmt.Fprintf(w, "%-58s %9s %9s\n", "part of linux/amd64", "KiB", "budget")
	for _, part := range names {
		n := kib(parts[part])
		total += parts[part]
		most, ok := budget[part]
		switch {
		case !ok:
			wrong++
			fmt.Fprintf(w, "%-58s %9d %9s  FAIL: it has no budget\n", part, n, "-")
		case n > most:
			wrong++
			fmt.Fprintf(w, "%-58s %9d %9d  FAIL\n", part, n, most)
		default:
			fmt.Fprintf(w, "%-58s %9d %9d\n", part, n, most)
		}
	}
	for _, part := range slices.Sorted(maps.Keys(budget)) {
		if _, ok := parts[part]; !ok {
			wrong++
			fmt.Fprintf(w, "%-58s %9s %9d  FAIL: it is not in the program any more\n", part, "-", budget[part])
		}
	}
	fmt.Fprintf(w, "%-58s %9d\n", "all", kib(total))
	return wrong
}
