package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// benchServer is this program, serving a policy in a process of its own.
type benchServer struct {
	process *os.Process
	address string
	log     string        // file of what it said
	ended   chan struct{} // closed when it has ended
}

// startServer starts this program again, to serve a path with default settings
// on a free port. What it says goes to the file log.
func startServer(path, log string) (*benchServer, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, err
	}
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	s := &benchServer{address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), log: log, ended: make(chan struct{})}
	s.process, err = os.StartProcess(program, []string{program, "serve", path, "--host", "127.0.0.1", "--port", strconv.Itoa(port), "--log-level", "error"},
		&os.ProcAttr{Env: os.Environ(), Files: []*os.File{null, out, out}})
	if err != nil {
		return nil, err
	}
	go func() {
		_, _ = s.process.Wait()
		close(s.ended)
	}()
	return s, nil
}

// refusal is what the server said before it ended; nil while it runs.
func (s *benchServer) refusal() error {
	select {
	case <-s.ended:
		said, _ := os.ReadFile(s.log)
		return fmt.Errorf("the server ended: %s", strings.TrimSpace(string(said)))
	default:
		return nil
	}
}

// stop ends the server, by force where it takes long.
func (s *benchServer) stop() {
	_ = s.process.Signal(os.Interrupt)
	select {
	case <-s.ended:
	case <-time.After(2 * time.Second):
		_ = s.process.Kill()
		<-s.ended
	}
}
