package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
)

// benchServer is this program, serving a policy in a process of its own.
type benchServer struct {
	process *os.Process
	address string
	log     string        // file of what it said
	ended   chan struct{} // closed when it has ended
}

// benchEnvironment is an environment without what would keep the bench from its
// own server, or have others take part in it: keys, hosts, certificates, rates,
// other listeners, logs, a database. What makes a server faster or slower stays.
func benchEnvironment(environ []string) []string {
	drop := map[string]bool{"CONFIG_FILE": true, "LISTEN_PID": true, "LISTEN_FDS": true, "LISTEN_FDNAMES": true, "NOTIFY_SOCKET": true}
	for _, r := range config.Reference() {
		section, name, _ := strings.Cut(r.Key, ".")
		switch {
		case section == "security", section == "monitoring", section == "database",
			section == "server" && (strings.HasPrefix(name, "tls_") || name == "admin_listen" || name == "access_log"):
			drop[r.Env] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return drop[name]
	})
}

// startServer starts this program again, to serve a path on a free port, with
// the settings of benchEnvironment. What it says goes to the file log.
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
		&os.ProcAttr{Env: benchEnvironment(os.Environ()), Files: []*os.File{null, out, out}})
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
