// Mutate changes one operator of a package at a time and runs the package's
// tests on what comes of it: a change that no test notices is code that nothing
// holds in place. It writes a line for each mutant that lived, and exits with 1
// where more than -lived of them did.
//
//	go run ./tools/mutate ./internal/envelope
//
// The mutants are of every operator of comparison, logic and arithmetic, of
// assignments that compute, of ++ and --, and of the words continue and break;
// nothing is left out because a coverage tool does not see it. The source tree
// is not touched: the go command takes each mutant as an overlay.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// swaps are what becomes of an operator.
var swaps = map[token.Token][]token.Token{
	token.EQL: {token.NEQ}, token.NEQ: {token.EQL},
	token.LSS: {token.LEQ, token.GEQ}, token.LEQ: {token.LSS, token.GTR},
	token.GTR: {token.GEQ, token.LEQ}, token.GEQ: {token.GTR, token.LSS},
	token.LAND: {token.LOR}, token.LOR: {token.LAND},
	token.ADD: {token.SUB}, token.SUB: {token.ADD}, token.MUL: {token.QUO}, token.QUO: {token.MUL},
	token.ADD_ASSIGN: {token.SUB_ASSIGN, token.ASSIGN}, token.SUB_ASSIGN: {token.ADD_ASSIGN, token.ASSIGN},
	token.MUL_ASSIGN: {token.QUO_ASSIGN, token.ASSIGN}, token.QUO_ASSIGN: {token.MUL_ASSIGN, token.ASSIGN},
	token.INC: {token.DEC}, token.DEC: {token.INC},
	token.CONTINUE: {token.BREAK}, token.BREAK: {token.CONTINUE},
}

// mutant is one file with one operator changed.
type mutant struct {
	file, what string
	source     []byte
}

func main() {
	lived := flag.Int("lived", 0, "mutants that may live")
	timeout := flag.Duration("timeout", time.Minute, "time for the tests of one mutant; one that takes longer was noticed")
	workers := flag.Int("workers", 2, "mutants that are tested at the same time")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: mutate [flags] PACKAGE_DIR")
		os.Exit(2)
	}
	n, err := run(flag.Arg(0), *timeout, *workers)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(2)
	case n > *lived:
		os.Exit(1)
	}
}

// run returns how many mutants of the package in dir lived.
func run(dir string, timeout time.Duration, workers int) (int, error) {
	mutants, err := read(dir)
	if err != nil {
		return 0, err
	}
	tmp, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(tmp)
	if verdict, err := try(dir, filepath.Join(tmp, "none"), nil, timeout); err != nil || verdict != "lived" {
		return 0, errors.Join(err, fmt.Errorf("the tests of %s do not pass without a mutant: %s", dir, verdict))
	}
	var mu sync.Mutex // guards what follows
	counts := map[string]int{}
	var failed error

	var wg sync.WaitGroup
	next := make(chan int)
	for range workers {
		wg.Go(func() {
			for i := range next {
				verdict, err := try(dir, filepath.Join(tmp, fmt.Sprint(i)), &mutants[i], timeout)
				mu.Lock()
				counts[verdict]++
				if verdict == "lived" {
					fmt.Println("lived:", mutants[i].what)
				}
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	for i := range mutants {
		next <- i
	}
	close(next)
	wg.Wait()
	tested := counts["killed"] + counts["lived"]
	fmt.Printf("%s: %d mutants: %d killed, %d lived, %d do not compile; score %.1f%%\n",
		dir, len(mutants), counts["killed"], counts["lived"], counts["invalid"], 100*float64(counts["killed"])/float64(max(1, tested)))
	if tested == 0 {
		failed = errors.Join(failed, errors.New("nothing was tested"))
	}
	return counts["lived"], failed
}

// read returns every mutant of the files in dir that are not tests.
func read(dir string) ([]mutant, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var mutants []mutant
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		of, err := mutate(name)
		if err != nil {
			return nil, err
		}
		mutants = append(mutants, of...)
	}
	return mutants, nil
}

// mutate returns every mutant of one file.
func mutate(name string) ([]mutant, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	var mutants []mutant
	change := func(op *token.Token, pos token.Pos) {
		was := *op
		for _, *op = range swaps[was] {
			var b bytes.Buffer
			if err = format.Node(&b, fset, file); err != nil {
				return
			}
			mutants = append(mutants, mutant{name, fmt.Sprintf("%s: %s became %s", fset.Position(pos), was, *op), b.Bytes()})
		}
		*op = was
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BinaryExpr:
			change(&n.Op, n.OpPos)
		case *ast.AssignStmt:
			change(&n.Tok, n.TokPos)
		case *ast.IncDecStmt:
			change(&n.Tok, n.TokPos)
		case *ast.BranchStmt:
			change(&n.Tok, n.TokPos)
		case *ast.UnaryExpr:
			if n.Op == token.SUB {
				n.Op = token.ADD
				var b bytes.Buffer
				err = errors.Join(err, format.Node(&b, fset, file))
				mutants = append(mutants, mutant{name, fmt.Sprintf("%s: unary - became +", fset.Position(n.OpPos)), b.Bytes()})
				n.Op = token.SUB
			}
		}
		return err == nil
	})
	return mutants, err
}

// try runs the tests of dir with a mutant, nil for none, in the folder tmp: it
// lived, was killed, or is invalid.
func try(dir, tmp string, m *mutant, timeout time.Duration) (string, error) {
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return "", err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	if m != nil {
		path, err := filepath.Abs(m.file)
		if err != nil {
			return "", err
		}
		overlay.Replace[path] = filepath.Join(tmp, "mutant.go")
		if err := os.WriteFile(overlay.Replace[path], m.source, 0o600); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	list := filepath.Join(tmp, "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	binary := filepath.Join(tmp, "test")
	build := exec.Command("go", "test", "-c", "-vet=off", "-overlay", list, "-o", binary, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		if m == nil {
			return string(out), err
		}
		return "invalid", nil
	}
	test := exec.CommandContext(ctx, binary, "-test.short", "-test.failfast")
	test.Dir = dir
	err = test.Run()
	_ = os.RemoveAll(tmp)
	switch exit := (*exec.ExitError)(nil); {
	case err == nil:
		return "lived", nil
	case errors.As(err, &exit) || ctx.Err() != nil:
		return "killed", nil
	}
	return "", err
}
