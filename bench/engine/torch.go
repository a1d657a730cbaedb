package main

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
)

//go:embed torch_forward.py
var torchScript string

// torch is a Python process that times its own forward when it is asked.
type torch struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	version string
}

// openTorch starts the process with the given Python, pinned to a core.
func openTorch(python string, core int) (*torch, error) {
	t := &torch{cmd: exec.Command(python, "-c", torchScript, strconv.Itoa(core))}
	var stderr strings.Builder
	t.cmd.Stderr = &stderr
	var err error
	if t.in, err = t.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("torch: %w", err)
	}
	t.out = bufio.NewScanner(out)
	if t.version, err = t.line(); err != nil {
		_ = t.cmd.Wait()
		return nil, fmt.Errorf("torch: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return t, nil
}

func (t *torch) close() {
	_ = t.in.Close()
	_ = t.cmd.Wait()
}

func (t *torch) line() (string, error) {
	if !t.out.Scan() {
		if err := t.out.Err(); err != nil {
			return "", err
		}
		return "", io.ErrUnexpectedEOF
	}
	return t.out.Text(), nil
}

func (t *torch) prepare(key string, batch int) error {
	if _, err := fmt.Fprintf(t.in, "prepare %s %d\n", key, batch); err != nil {
		return err
	}
	_, err := t.line()
	return err
}

// sample returns the seconds of one of n runs.
func (t *torch) sample(kind string, n int) (float64, error) {
	if _, err := fmt.Fprintf(t.in, "sample %s %d\n", kind, n); err != nil {
		return 0, err
	}
	s, err := t.line()
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(s, 64)
}
