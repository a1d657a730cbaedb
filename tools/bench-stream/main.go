// Command bench-stream compares the round trip of an observation through
// /v1/stream with an echo of the same bytes on the same WebSocket stack.
//
// It builds the program, serves the demo policy by it and an echo by itself,
// each in a process of its own on loopback, and asks both in turns, block by
// block. A shared machine varies by more than what is measured, within seconds,
// so the ratio is that of two blocks beside each other, the median of all such
// pairs. It is printed for JSON and for MessagePack with the medians of the
// round trips; a ratio above the bound fails.
//
//	go run ./tools/bench-stream
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

const observation = `{"observation":{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]},"deterministic":true,"seq":1}`

func main() {
	echo := flag.Bool("echo", false, "be the echo")
	blocks := flag.Int("blocks", 400, "blocks of each side")
	trips := flag.Int("trips", 200, "round trips in a block")
	bound := flag.Float64("bound", 1.2, "largest ratio")
	flag.Parse()
	var err error
	if *echo {
		err = serveEcho()
	} else {
		err = run(*blocks, *trips, *bound)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-stream:", err)
		os.Exit(1)
	}
}

func run(blocks, trips int, bound float64) error {
	dir, err := os.MkdirTemp("", "bench-stream-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "carla-rl")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "./cmd/carla-rl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the program: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	served := exec.Command(binary, "serve", "--host", "127.0.0.1", "--port", port)
	served.Dir = dir
	served.Env = append(os.Environ(), "CARLA_RL_DRAIN_DELAY=0s")
	stop, err := start(served)
	if err != nil {
		return err
	}
	defer stop()
	if err := ready("http://127.0.0.1:" + port + "/readyz"); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	mirror := exec.Command(self, "-echo")
	out, err := mirror.StdoutPipe()
	if err != nil {
		return err
	}
	if stop, err = start(mirror); err != nil {
		return err
	}
	defer stop()
	at, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the echo: %w", err)
	}
	fmt.Println(machine())
	worst := 0.0
	for _, codec := range []struct {
		name    string
		op      websocket.Op
		payload []byte
	}{
		{"JSON", websocket.Text, []byte(observation)},
		{"MessagePack", websocket.Binary, msgpack.AppendFromJSON(nil, []byte(observation))},
	} {
		ratio, err := compare(codec.name, codec.op, codec.payload, "127.0.0.1:"+port, strings.TrimSpace(at), blocks, trips)
		if err != nil {
			return err
		}
		worst = max(worst, ratio)
	}
	if worst > bound {
		return fmt.Errorf("the ratio %.2f is above %.2f", worst, bound)
	}
	return nil
}

// compare asks the server and the echo in turns.
func compare(name string, op websocket.Op, payload []byte, server, echo string, blocks, trips int) (float64, error) {
	ours, err := dial(server, "/v1/stream")
	if err != nil {
		return 0, err
	}
	defer ours.Close(websocket.CloseNormal, "")
	theirs, err := dial(echo, "/")
	if err != nil {
		return 0, err
	}
	defer theirs.Close(websocket.CloseNormal, "")
	const warm = 20 // blocks that are not counted
	var acts, echoes []time.Duration
	var ratios []float64
	for block := range blocks + warm {
		a, err := measure(ours, op, payload, trips)
		if err != nil {
			return 0, fmt.Errorf("the server: %w", err)
		}
		e, err := measure(theirs, op, payload, trips)
		if err != nil {
			return 0, fmt.Errorf("the echo: %w", err)
		}
		if block < warm {
			continue
		}
		slices.Sort(a)
		slices.Sort(e)
		ratios = append(ratios, float64(quantile(a, 0.5))/float64(quantile(e, 0.5)))
		acts, echoes = append(acts, a...), append(echoes, e...)
	}
	slices.Sort(acts)
	slices.Sort(echoes)
	slices.Sort(ratios)
	fmt.Printf("%-11s %4d bytes, %d round trips each: P50 %.1f us, P99 %.1f us; echo P50 %.1f us, P99 %.1f us; ratio of P50 of neighbours %.2f (quartiles %.2f to %.2f)\n",
		name, len(payload), len(acts), us(quantile(acts, 0.5)), us(quantile(acts, 0.99)), us(quantile(echoes, 0.5)), us(quantile(echoes, 0.99)),
		quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75))
	return quantile(ratios, 0.5), nil
}

func quantile[T any](sorted []T, q float64) T {
	return sorted[int(q*float64(len(sorted)-1))]
}

func us(d time.Duration) float64 { return float64(d) / 1e3 }

// measure makes round trips one after another.
func measure(c *websocket.Conn, op websocket.Op, payload []byte, trips int) ([]time.Duration, error) {
	took := make([]time.Duration, 0, trips)
	for range trips {
		begun := time.Now()
		if err := c.Write(op, append(c.Frame(), payload...)); err != nil {
			return nil, err
		}
		m, err := c.Read()
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
		if bytes.Contains(m.Payload, []byte("VALIDATION_ERROR")) || m.Op != op {
			return nil, fmt.Errorf("answered with %q", m.Payload)
		}
	}
	return took, nil
}

// dial upgrades a connection.
func dial(addr, path string) (*websocket.Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", path, addr)
	if err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 4096), nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() // there is none
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("upgrade of %s: %s", path, resp.Status)
	}
	return websocket.New(c, websocket.Options{Client: true}), nil
}

// serveEcho prints an address and sends back there what it is sent.
func serveEcho() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if err := mirror(c); err != nil {
				fmt.Fprintln(os.Stderr, "echo:", err)
			}
		}()
	}
}

func mirror(c net.Conn) error {
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return err
	}
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, err = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	if err != nil {
		return err
	}
	w := websocket.New(c, websocket.Options{})
	for {
		m, err := w.Read()
		if closed := (*websocket.CloseError)(nil); errors.As(err, &closed) && closed.Peer {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.Write(m.Op, append(w.Frame(), m.Payload...)); err != nil {
			return err
		}
	}
}

// start runs a command until stop.
func start(c *exec.Cmd) (stop func(), err error) {
	if err := c.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = c.Process.Kill() // it holds nothing
		_ = c.Wait()
	}, nil
}

func ready(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer", url)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	return port, err
}

// machine says where the numbers were measured.
func machine() string {
	cpu := "unknown CPU"
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				cpu = strings.TrimSpace(strings.TrimLeft(name, "\t :"))
				break
			}
		}
	}
	commit := "unknown"
	if out, err := exec.Command("git", "rev-parse", "--short=8", "HEAD").Output(); err == nil {
		commit = strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("machine: %s/%s, %d CPUs, %s, %s, commit %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), cpu, runtime.Version(), commit)
}
