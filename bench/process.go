package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/load"
)

// process is a server that was started, with all that it started.
type process struct {
	subject *subject
	cmd     *exec.Cmd
	address string
	took    time.Duration // from its start to its first answer
	log     string        // file
	ended   chan struct{}
}

// patience is how long a server may take to its first answer.
const patience = 3 * time.Minute

// launch starts a subject on some cores and waits for its first good answer. One
// that ends at once gets a second try: its port may have been taken meanwhile.
func (b *bench) launch(s *subject, workers int, on []int) (*process, error) {
	p, err := b.try(s, workers, on)
	if errors.Is(err, errEnded) && b.ctx.Err() == nil {
		p, err = b.try(s, workers, on)
	}
	return p, err
}

var errEnded = errors.New("it ended before its first answer")

func (b *bench) try(s *subject, workers int, on []int) (*process, error) {
	port, err := freePorts()
	if err != nil {
		return nil, err
	}
	p := &process{subject: s, address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), ended: make(chan struct{})}
	if p.cmd, err = s.command(b, port, workers); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	p.log = filepath.Join(b.scratch, s.key+"-"+strconv.Itoa(port)+".log")
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	began := time.Now()
	err = startOn(p.cmd, on)
	_ = log.Close()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	for {
		status, _, body, err := load.Ask("tcp", p.address, s.request(p.address, 0), 5*time.Second)
		if err == nil && status == 200 {
			p.took = time.Since(began)
			if err := p.compare(body); err != nil {
				p.stop()
				return nil, err
			}
			return p, nil
		}
		select {
		case <-p.ended:
			return nil, fmt.Errorf("%s: %w:\n%s", s.name, errEnded, tail(p.log))
		case <-b.ctx.Done():
			p.stop()
			return nil, b.ctx.Err()
		case <-time.After(time.Millisecond):
		}
		if time.Since(began) > patience {
			p.stop()
			return nil, fmt.Errorf("%s has no answer after %v (last: status %d, %s, %w):\n%s", s.name, patience, status, body, err, tail(p.log))
		}
	}
}

// compare holds the answers to several observations against the ones that the
// policy has to give: who answers something else is not measured.
func (p *process) compare(first []byte) error {
	for i := range observations {
		body := first
		if i > 0 && p.subject.key != "fasthttp" && p.subject.key != "nethttp" {
			status, _, got, err := load.Ask("tcp", p.address, p.subject.request(p.address, i), 5*time.Second)
			if err != nil || status != 200 {
				return fmt.Errorf("%s: observation %d: status %d, %s: %w", p.subject.name, i, status, got, errors.Join(err))
			}
			body = got
		} else if i > 0 {
			break // A no-op has one answer.
		}
		if err := sameAction(body, observations[i].action); err != nil {
			return fmt.Errorf("%s: observation %d: %w: %s", p.subject.name, i, err, body)
		}
	}
	return nil
}

// want is what all answers to the first observation begin with.
func (p *process) want() ([]byte, error) {
	var common []byte
	for i := range 3 {
		_, _, body, err := load.Ask("tcp", p.address, p.subject.request(p.address, 0), 5*time.Second)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			common = bytes.Clone(body)
			continue
		}
		n := 0
		for n < min(len(common), len(body)) && common[n] == body[n] {
			n++
		}
		common = common[:n]
	}
	// Digits that three answers share by chance are not what the fourth has:
	// the last member that began is left out.
	return common[:bytes.LastIndexByte(common, ',')+1], nil
}

// stop ends the process and all that it started.
func (p *process) stop() {
	killTree(p.cmd)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
	}
}

func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-2000):]))
}

// freePorts returns the first of four ports beside each other that nobody has.
func freePorts() (int, error) {
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		first := l.Addr().(*net.TCPAddr).Port
		all, ok := []net.Listener{l}, true
		for i := 1; i < 4 && ok; i++ {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first+i)))
			if ok = err == nil; ok {
				all = append(all, l)
			}
		}
		for _, l := range all {
			_ = l.Close()
		}
		if ok {
			return first, nil
		}
	}
	return 0, errors.New("no four ports beside each other are free")
}
