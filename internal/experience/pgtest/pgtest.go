//go:build unix

// Package pgtest starts PostgreSQL for tests: the server of Debian's package, on
// a folder and a port of its own, as a user without rights, with a password. And
// it holds a proxy that does to a connection what networks do.
//
// What enters is a test, what leaves is a URL. Only tests and benchmarks import the
// package.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// User and Password are those of the server. The password has characters that a
// URL must escape.
const (
	User     = "carla"
	Password = "s3cret/p@ss:word"
)

// patience is how long the server may take to start or stop on a busy machine.
const patience = 2 * time.Minute

// Server is a running PostgreSQL.
type Server struct {
	Port int

	bin, dir string
	user     *syscall.Credential
	cmd      *exec.Cmd
	ended    chan struct{}
	log      bytes.Buffer
	tls      bool
}

// Start starts a server for a test, which ends with it. Where there is no
// PostgreSQL and none can be installed the test is skipped, or fails where CI is
// set.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := New()
	Need(t, err)
	t.Cleanup(s.Close)
	return s
}

// Need ends a test that got no server.
func Need(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "" && errors.Is(err, errNone):
		t.Skip("NOT SHOWN HERE:", err)
	default:
		t.Fatal(err)
	}
}

var errNone = errors.New("no PostgreSQL")

// New starts a server, which Close ends.
func New() (s *Server, err error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "carla-rl-postgres-")
	if err != nil {
		return nil, err
	}
	s = &Server{bin: bin, dir: dir}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := s.demote(); err != nil {
		return s, err
	}
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte(Password), 0o644); err != nil {
		return s, err
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", s.data(), "-U", User, "--pwfile", secret,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
	s.as(initdb)
	if out, err := initdb.CombinedOutput(); err != nil {
		return s, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return s, err
	}
	s.Port = ln.Addr().(*net.TCPAddr).Port
	if err := ln.Close(); err != nil {
		return s, err
	}
	return s, s.Run()
}

// programs finds the folder of PostgreSQL's programs, and installs them where
// they are missing.
func programs() (string, error) {
	look := func() string {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
		if len(found) > 0 {
			slices.Sort(found)
			return filepath.Dir(found[len(found)-1])
		}
		if name, err := exec.LookPath("initdb"); err == nil {
			return filepath.Dir(name)
		}
		return ""
	}
	if dir := look(); dir != "" {
		return dir, nil
	}
	_, here, _, _ := runtime.Caller(0)
	need := filepath.Join(filepath.Dir(here), "..", "..", "..", "tools", "need")
	if out, err := exec.Command(need, "postgres").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w, and it cannot be installed: %w: %s", errNone, err, out)
	}
	if dir := look(); dir != "" {
		return dir, nil
	}
	return "", fmt.Errorf("%w, although its package was installed", errNone)
}

// demote chooses the user that the server runs as, which must not be root.
func (s *Server) demote() error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	s.user = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.dir, int(uid), int(gid))
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// as has a command run as the server's user, in a folder that it may read.
func (s *Server) as(cmd *exec.Cmd) {
	cmd.Dir = s.dir
	cmd.SysProcAttr = attributes(s.user)
}

// Run starts the server that was stopped, on the same data and port.
func (s *Server) Run() error {
	s.cmd = exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data(), "-p", strconv.Itoa(s.Port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=50")
	s.as(s.cmd)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait()
	}()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := s.Exec("postgres", "select 1")
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("postgres ended: %w\n%s", err, s.log.String())
		default:
		}
		if time.Since(begun) > patience {
			return fmt.Errorf("postgres does not answer: %w", err)
		}
	}
}

// PID is the number of the server's first process, whose children are the others;
// 0 while it does not run.
func (s *Server) PID() int {
	if s.cmd == nil || s.cmd.Process == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Kill ends the server as a crash does: what was not committed is gone.
func (s *Server) Kill() { s.end(syscall.SIGQUIT) }

// Stop ends the server in order, with connections cut off.
func (s *Server) Stop() { s.end(syscall.SIGINT) }

func (s *Server) end(sig syscall.Signal) {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.ended:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	s.cmd = nil
}

// Close ends the server and deletes its folder.
func (s *Server) Close() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
}

// URL is that of a database, at the server's port or, where port is not 0, at
// another that leads to it.
func (s *Server) URL(database string, port int) string {
	if port == 0 {
		port = s.Port
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(User, Password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Database makes an empty database with the name of the test and returns its
// name.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := "t_" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(t.Name()))
	name = name[:min(len(name), 60)]
	if err := s.Exec("postgres", "drop database if exists "+name+" with (force)"); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec("postgres", "create database "+name); err != nil {
		t.Fatal(err)
	}
	return name
}

// Connect makes a connection, with TLS where the server wants it.
func (s *Server) Connect(database string) (*pgconn.PgConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	url := s.URL(database, 0)
	if s.tls {
		url = strings.Replace(url, "sslmode=disable", "sslmode=require", 1)
	}
	return pgconn.Connect(ctx, url)
}

// Exec runs a statement.
func (s *Server) Exec(database, sql string) error {
	_, err := s.Query(database, sql)
	return err
}

// Query runs a statement and returns its rows as text.
func (s *Server) Query(database, sql string) (rows [][]string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := s.Connect(database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	results, err := conn.Exec(ctx, sql).ReadAll()
	for _, r := range results {
		for _, row := range r.Rows {
			var text []string
			for _, v := range row {
				text = append(text, string(v))
			}
			rows = append(rows, text)
		}
	}
	return rows, err
}
