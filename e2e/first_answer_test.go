//go:build e2e

package e2e_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestFirstAnswer starts a pod five times and says how long each took from the
// start of the container's process to its first action. It fails where there is
// none: how soon it comes depends on what else the machine does.
func TestFirstAnswer(t *testing.T) {
	ns := namespace(t, "first-answer", restricted)
	shell(t, "kubectl create -n "+ns+" --dry-run=client -o yaml -f ../deploy/k8s/deployment.yaml | kubectl apply -n "+ns+" -f -")
	kubectl(t, "-n", ns, "scale", "deployment/model-serving", "--replicas=0")
	readyPods(t, ns, "app=model-serving", 0)
	var took []time.Duration
	for range 5 {
		before := addresses(t)
		kubectl(t, "-n", ns, "scale", "deployment/model-serving", "--replicas=1")
		answered := firstAction(t, before)
		p := readyPods(t, ns, "app=model-serving", 1)[0]
		proc, err := process(p)
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, answered.Sub(startOf(t, proc)).Round(10*time.Millisecond))
		kubectl(t, "-n", ns, "scale", "deployment/model-serving", "--replicas=0")
		kubectl(t, "-n", ns, "delete", "pod", p.Metadata.Name, "--grace-period=1", "--ignore-not-found")
		readyPods(t, ns, "app=model-serving", 0)
	}
	t.Logf("figure: first action of a pod %v after its process began, the best of %v (to 10 ms)", slices.Min(took), took)
}

// addresses are those that the network plug-in has given to pods.
func addresses(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	files, err := os.ReadDir(filepath.Join(os.Getenv(stateEnv), "addresses", "pods"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if net.ParseIP(f.Name()) != nil {
			found[f.Name()] = true
		}
	}
	return found
}

// firstAction asks the pod whose address is new until it acts, and says when.
func firstAction(t *testing.T, before map[string]bool) time.Time {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	limit := time.Now().Add(patience)
	for time.Now().Before(limit) {
		for ip := range addresses(t) {
			if before[ip] {
				continue
			}
			for time.Now().Before(limit) {
				if once(client, loadConfig{url: "http://" + ip + ":8080/predict"}) == "" {
					return time.Now()
				}
				time.Sleep(2 * time.Millisecond)
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("no new pod acts within %v", patience)
	return time.Time{}
}

// startOf is when a process began, to 10 ms.
func startOf(t *testing.T, proc string) time.Time {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		t.Fatal(err)
	}
	uptime, err := os.ReadFile("/proc/uptime")
	now := time.Now()
	if err != nil {
		t.Fatal(err)
	}
	// Field 22, counted after the name, which may hold spaces.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	ticks, err := strconv.ParseFloat(fields[19], 64)
	if err != nil {
		t.Fatal(err)
	}
	up, err := strconv.ParseFloat(strings.Fields(string(uptime))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	const ticksPerSecond = 100 // USER_HZ of Linux
	return now.Add(-time.Duration((up - ticks/ticksPerSecond) * float64(time.Second)))
}
