package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that was started.
type process struct {
	cmd   *exec.Cmd
	begun time.Time
	addr  string
	said  string // what it printed until it listened
	rest  chan struct{}
}

var announced = regexp.MustCompile(`at http://([^ ]+) `)

// launch starts a server on a free port and returns once it says where it
// listens, which is after its first load.
func launch(binary string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(binary, append([]string{"serve", "--port", "0", "--log-level", "warn"}, args...)...), rest: make(chan struct{})}
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	p.begun = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		p.said += line
		if m := announced.FindStringSubmatch(line); m != nil {
			p.addr = m[1]
			break
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("the server did not say where it listens: %s", p.said), p.cmd.Wait())
		}
	}
	go func() {
		defer close(p.rest)
		_, _ = io.Copy(io.Discard, lines)
	}()
	return p, nil
}

// stop ends the server and waits for it.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-p.rest
	return p.cmd.Wait()
}

// status is a line of /proc/PID/status in KiB, as a number of MiB.
func (p *process) status(name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(text), "\n"+name+":")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); !found || err != nil {
		return 0, fmt.Errorf("/proc/%d/status: no %s", p.cmd.Process.Pid, name)
	}
	return kib / 1024, nil
}

// client is one connection that is kept open.
type client struct {
	conn net.Conn
	in   *bufio.Reader
}

func dial(addr string) (*client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &client{conn, bufio.NewReader(conn)}, nil
}

// post is a request as it goes over the wire.
func post(addr, path string, body []byte) []byte {
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, addr, len(body))
	return append([]byte(head), body...)
}

// get is one without a body.
func get(addr, path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, addr)
}

// do sends a request and reads its answer, which must be 200.
func (c *client) do(request []byte) (int, error) {
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	length, first := -1, true
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			rest, _ := c.in.Peek(c.in.Buffered())
			return 0, fmt.Errorf("%s%s", line, rest)
		}
		first = false
		if rest, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(rest))); err != nil {
				return 0, err
			}
		}
		if len(bytes.TrimSpace(line)) == 0 {
			break
		}
	}
	if length < 0 {
		return 0, errors.New("an answer without a length")
	}
	_, err := c.in.Discard(length)
	return length, err
}
