//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// orderOfStopping is K2: what happens to a pod that is told to stop, in order,
// by the clock: of the server (its log), of a client of the pod and of the
// cluster.
func orderOfStopping(t *testing.T) {
	p := readyPods(t, production, "app=model-serving", 3)[0]
	name, at := p.Metadata.Name, net.JoinHostPort(p.Status.PodIP, "8080")

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := follow(ctx, t, "-n", production, "logs", "-f", name)
	states := follow(ctx, t, "-n", production, "get", "pod", name, "-w", "-o",
		`jsonpath={.status.containerStatuses[0].state.terminated.exitCode} {.status.containerStatuses[0].state.terminated.reason}{"\n"}`)
	// One line for each change of the endpoints that take requests, all of them in
	// one expression: kubectl prints a range for the first line only.
	slice := kubectl(t, "get", "endpointslices", "-n", production, "-l", "kubernetes.io/service-name=model-serving-service", "-o", "jsonpath={.items[*].metadata.name}")
	endpoints := follow(ctx, t, "-n", production, "get", "endpointslice", slice, "-w", "-o",
		`jsonpath={.endpoints[?(@.conditions.ready==true)].addresses[0]}{"\n"}`)
	listed := func() (listed, known bool) {
		whole, _, known := cutLast(endpoints.String(), "\n")
		_, line, _ := cutLast(whole, "\n")
		return slices.Contains(strings.Fields(line), p.Status.PodIP), known
	}
	waitFor(t, "the endpoints are watched", func() error {
		if ok, _ := listed(); !ok {
			return fmt.Errorf("%s is not in %q", p.Status.PodIP, endpoints)
		}
		return nil
	})

	var mu sync.Mutex // guards seen
	seen := map[string]time.Time{}
	first := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		if _, ok := seen[what]; !ok {
			seen[what] = time.Now()
		}
	}
	last := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		seen[what] = time.Now()
	}
	var watchers sync.WaitGroup
	watch := func(f func()) {
		watchers.Go(func() {
			for tick := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-tick.C {
				f()
			}
		})
	}
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	predict := loadConfig{url: "http://" + at + "/predict", headers: []string{"Host", serviceHost, "X-API-Key", apiKey}}
	watch(func() {
		if a, err := request("GET", "http://"+at+"/readyz", ""); err == nil && a.status == http.StatusServiceUnavailable {
			first("client: not ready")
		}
	})
	watch(func() {
		if reason := once(fresh, predict); reason == "" {
			last("client: last answer on a new connection")
		} else if strings.Contains(reason, "refused") {
			first("client: refused")
		}
	})
	watch(func() {
		if ok, known := listed(); known && !ok {
			first("cluster: not an endpoint")
		}
	})
	waitFor(t, "the pod answers", func() error {
		mu.Lock()
		defer mu.Unlock()
		if _, ok := seen["client: last answer on a new connection"]; !ok {
			return errors.New("not yet")
		}
		return nil
	})
	told := time.Now()
	kubectl(t, "-n", production, "delete", "pod", name)
	cancel()
	watchers.Wait()

	events := map[string]time.Time{}
	for what, text := range map[string]string{
		"server: told to stop":      `told to stop`,
		"server: not ready":         `no longer ready`,
		"server: asks to close":     `connections are asked to close`,
		"server: port closed":       `no new connections`,
		"server: all of it stopped": `"stopped"`,
	} {
		m := regexp.MustCompile(`(?m)^\{"timestamp":"([^"]+)".*` + text).FindStringSubmatch(log.String())
		if m == nil {
			t.Fatalf("the log of the pod has no line %q:\n%s", text, log.String())
		}
		when, err := time.Parse(time.RFC3339Nano, m[1])
		if err != nil {
			t.Fatal(err)
		}
		events[what] = when
	}
	mu.Lock()
	defer mu.Unlock()
	maps.Copy(events, seen)
	events["test: kubectl delete"] = told
	names := make([]string, 0, len(events))
	for what := range events {
		names = append(names, what)
	}
	slices.SortFunc(names, func(a, b string) int { return events[a].Compare(events[b]) })
	for _, what := range names {
		t.Logf("%7.3f s  %s", events[what].Sub(told).Seconds(), what)
	}
	for _, pair := range [][2]string{
		{"test: kubectl delete", "server: told to stop"},
		{"server: told to stop", "server: not ready"},
		{"server: told to stop", "client: not ready"},
		{"server: not ready", "server: asks to close"},
		{"cluster: not an endpoint", "server: asks to close"}, // The cluster sends nobody any more when the port goes.
		{"client: not ready", "server: port closed"},
		{"server: asks to close", "server: port closed"},
		{"server: not ready", "client: last answer on a new connection"}, // It serves on for those who do not know yet.
		{"server: port closed", "server: all of it stopped"},
	} {
		a, ok := events[pair[0]]
		b, also := events[pair[1]]
		if !ok || !also || a.After(b) {
			t.Errorf("want %q before %q", pair[0], pair[1])
		}
	}
	if wait := events["server: asks to close"].Sub(events["server: not ready"]); wait < 5*time.Second {
		t.Errorf("the server waited %v, want the 5 s of CARLA_RL_DRAIN_DELAY", wait)
	}
	if _, ok := events["cluster: not an endpoint"]; !ok {
		t.Logf("the endpoints that were ready, line by line:\n%s", endpoints)
	}
	if out := states.String(); !strings.Contains(out, "0 Completed") {
		t.Errorf("the container did not end with exit code 0: %q", out)
	}
	readyPods(t, production, "app=model-serving", 3)
}

// cutLast is strings.Cut around the last of the separators; without one all of
// the text comes after it.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

// follow runs kubectl in the background and collects what it prints.
func follow(ctx context.Context, t *testing.T, args ...string) *lines {
	t.Helper()
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := &lines{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	return out
}

// killedPods is K5: pods that are evicted, that the kernel kills for their memory
// and that are killed, one after the other under a load. What is lost are the
// requests to the killed pod alone, and production heals by itself.
func killedPods(t *testing.T) {
	kill := func(p pod) error {
		proc, err := process(p)
		if err != nil {
			return err
		}
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err != nil {
			return err
		}
		return syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, c := range []struct {
		name     string
		do       func(pod) error
		lossless bool
		reason   string // of the container's end
	}{
		{"evicted", func(p pod) error { return evict(p.Metadata.Name) }, true, ""},
		{"out of memory", outOfMemory, false, "OOMKilled"},
		{"killed", kill, false, "Error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := readyPods(t, production, "app=model-serving", 3)[2]
			waitFor(t, "the budget allows one", budgetAllowsOne)
			l := productionLoad(t, 200)
			time.Sleep(time.Second)
			if err := c.do(p); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the pod has gone or begun again", func() error {
				found, err := pods(production, "app=model-serving")
				if err != nil {
					return err
				}
				for _, q := range found {
					if q.Metadata.UID != p.Metadata.UID || len(q.Status.ContainerStatuses) == 0 {
						continue
					}
					s := q.Status.ContainerStatuses[0]
					if c.reason == "" || s.RestartCount <= p.Status.ContainerStatuses[0].RestartCount {
						return fmt.Errorf("%s is still there, %d restarts", q.Metadata.Name, s.RestartCount)
					}
					if e := s.LastState.Terminated; e == nil || e.ExitCode != 137 || e.Reason != c.reason {
						t.Errorf("the container ended with %+v, want exit code 137, %s", e, c.reason)
					}
				}
				return nil
			})
			readyPods(t, production, "app=model-serving", 3)
			r := l.stop()
			t.Log(r)
			if c.lossless && r.failed > 0 {
				t.Errorf("%d requests failed", r.failed)
			}
			// Those to one pod of three, and not even all of them: it comes back, and
			// until then the cluster sends to the other two.
			if r.failed > r.requests/3 {
				t.Errorf("%d of %d requests failed, more than one pod of three has", r.failed, r.requests)
			}
			after := productionLoad(t, 200)
			time.Sleep(2 * time.Second)
			after.lossless(t)
		})
	}
}

// budgetAllowsOne says why no pod of production may be evicted now.
func budgetAllowsOne() error {
	var b struct {
		Status struct{ DisruptionsAllowed int }
	}
	if err := get(&b, "pdb", "model-serving", "-n", production); err != nil {
		return err
	}
	if b.Status.DisruptionsAllowed < 1 {
		return fmt.Errorf("disruptionsAllowed is %d", b.Status.DisruptionsAllowed)
	}
	return nil
}

// outOfMemory takes a container's memory away until the kernel kills it: the
// limit of its control group is set to what it uses, and requests do the rest.
func outOfMemory(p pod) error {
	proc, err := process(p)
	if err != nil {
		return err
	}
	if err := limitToUse(proc); err != nil {
		return err
	}
	body := bytes.Repeat([]byte(" "), 8<<20)
	var sent sync.WaitGroup
	for range 16 {
		sent.Go(func() {
			_, _ = request("POST", "http://"+p.Status.PodIP+":8080/predict", string(body), "Host", serviceHost, "X-API-Key", apiKey)
		})
	}
	sent.Wait()
	return nil
}

// limitToUse sets the memory limit of a process's control group to what it uses.
func limitToUse(proc string) error {
	f, err := os.Open(filepath.Join(proc, "cgroup"))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		part := strings.SplitN(s.Text(), ":", 3)
		if len(part) != 3 || part[1] != "memory" && part[1] != "" {
			continue
		}
		dir, use, limit := filepath.Join("/sys/fs/cgroup/memory", part[2]), "memory.usage_in_bytes", "memory.limit_in_bytes"
		if part[1] == "" {
			dir, use, limit = filepath.Join("/sys/fs/cgroup", part[2]), "memory.current", "memory.max"
		}
		used, err := os.ReadFile(filepath.Join(dir, use))
		if err != nil {
			continue // The other version of control groups.
		}
		return os.WriteFile(filepath.Join(dir, limit), bytes.TrimSpace(used), 0)
	}
	return fmt.Errorf("%s has no control group for memory", proc)
}
