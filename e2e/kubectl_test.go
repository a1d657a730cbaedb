//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// run runs a command and returns its standard output; an error holds the rest.
func run(stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// kubectl runs kubectl and returns what it prints; the test ends when it fails.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run("", "kubectl", args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// apply applies objects that are given as YAML. An empty namespace leaves it to
// them.
func apply(t *testing.T, namespace, yaml string) {
	t.Helper()
	args := []string{"apply", "--server-side", "--force-conflicts", "-f", "-"}
	if namespace != "" {
		args = append(args, "-n", namespace)
	}
	if out, err := run(yaml, "kubectl", args...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// manifest returns the content of a file of deploy/k8s.
func manifest(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "deploy", "k8s", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// shell runs a line of the guide as a user types it.
func shell(t *testing.T, line string) string {
	t.Helper()
	out, err := run("", "bash", "-euo", "pipefail", "-c", line)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// get decodes an object of the cluster into what is asked of it.
func get(into any, args ...string) error {
	out, err := run("", "kubectl", append(append([]string{"get"}, args...), "-o", "json")...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), into, json.MatchCaseInsensitiveNames(true))
}

// patience is how long is waited for what must come. How soon it comes is up to
// the machine and what else it does, and no test is of that: the limit only ends
// what would never come.
const patience = 5 * time.Minute

// waitFor asks until the answer is no error; the test ends with the last error
// when the patience is over.
func waitFor(t *testing.T, what string, so func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := so()
		took := time.Since(began)
		if err == nil {
			return took
		}
		if took > patience {
			t.Fatalf("not within %v: %s: %v", patience, what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// rolledOut waits until a Deployment is as its object says, old pods gone.
func rolledOut(t *testing.T, namespace, deployment string) time.Duration {
	t.Helper()
	began := time.Now()
	kubectl(t, "-n", namespace, "rollout", "status", "deployment/"+deployment, "--timeout=5m")
	return time.Since(began)
}

// pod is what the tests read of a Pod.
type pod struct {
	Metadata struct {
		Name, Namespace, UID string
		Labels               map[string]string
		CreationTimestamp    time.Time
		DeletionTimestamp    *time.Time
	}
	Spec struct {
		NodeName string
	}
	Status struct {
		Phase, PodIP      string
		Conditions        []struct{ Type, Status, Reason, Message string }
		ContainerStatuses []struct {
			Name         string
			Ready        bool
			Started      *bool
			RestartCount int
			State        struct {
				Running    *struct{ StartedAt time.Time }
				Terminated *terminated
				Waiting    *struct{ Reason, Message string }
			}
			LastState struct{ Terminated *terminated }
		}
	}
}

// terminated says how a container ended.
type terminated struct {
	ExitCode              int
	Reason                string
	StartedAt, FinishedAt time.Time
}

func (p *pod) ready() bool {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True" && p.Metadata.DeletionTimestamp == nil
		}
	}
	return false
}

// pods returns the pods that a selector finds.
func pods(namespace, selector string) ([]pod, error) {
	var list struct{ Items []pod }
	err := get(&list, "pods", "-n", namespace, "-l", selector)
	return list.Items, err
}

// readyPods waits for a number of ready pods, and of no others.
func readyPods(t *testing.T, namespace, selector string, n int) []pod {
	t.Helper()
	var found []pod
	waitFor(t, fmt.Sprintf("%d ready pods %s in %s", n, selector, namespace), func() error {
		var err error
		if found, err = pods(namespace, selector); err != nil {
			return err
		}
		ready := 0
		for _, p := range found {
			if p.ready() {
				ready++
			}
		}
		if ready != n || len(found) != n {
			return fmt.Errorf("%d of %d pods are ready", ready, len(found))
		}
		return nil
	})
	return found
}

// clusterIP returns the address of a Service.
func clusterIP(t *testing.T, namespace, service string) string {
	t.Helper()
	return kubectl(t, "get", "service", "-n", namespace, service, "-o", "jsonpath={.spec.clusterIP}")
}

// restricted are the labels by which a namespace admits pods of the Pod Security
// level restricted only.
const restricted = "pod-security.kubernetes.io/enforce=restricted"

// namespace makes a namespace for a test and removes it, with all that is in it,
// at its end; when the test fails, what is in it is written down before.
func namespace(t *testing.T, name string, labels ...string) string {
	t.Helper()
	apply(t, "", "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+name+"}\n")
	if len(labels) > 0 {
		kubectl(t, append([]string{"label", "--overwrite", "namespace", name}, labels...)...)
	}
	observed(t, name)
	t.Cleanup(func() {
		if _, err := run("", "kubectl", "delete", "namespace", name, "--wait=false"); err != nil {
			t.Log(err)
		}
		if _, err := run("", "kubectl", "-n", name, "delete", "pods", "--all", "--grace-period=1"); err != nil {
			t.Log(err)
		}
		if _, err := run("", "kubectl", "wait", "--for=delete", "namespace/"+name, "--timeout=5m"); err != nil {
			t.Log(err)
		}
	})
	return name
}

// observed writes down what a namespace holds when the test fails.
func observed(t *testing.T, name string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("events, objects and logs of the namespace %s: %s", name, dump(t.Name(), name))
		}
	})
}

// dump writes the events, objects and logs of a namespace into the folder of the
// cluster's logs and returns where.
func dump(test, namespace string) string {
	dir := filepath.Join(os.Getenv(stateEnv), "failed", strings.ReplaceAll(test, "/", "_"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err.Error()
	}
	write := func(name string, args ...string) string {
		out, err := run("", "kubectl", append([]string{"-n", namespace}, args...)...)
		if err != nil {
			out += err.Error()
		}
		if err := os.WriteFile(filepath.Join(dir, namespace+"-"+name), []byte(out), 0o600); err != nil {
			return err.Error()
		}
		return out
	}
	write("events.txt", "get", "events", "--sort-by=.metadata.creationTimestamp")
	write("objects.txt", "get", "all,hpa,pdb,ingress,configmap,endpointslices,resourcequota", "-o", "wide")
	write("pods.yaml", "get", "pods", "-o", "yaml")
	names := write("names.txt", "get", "pods", "-o", "jsonpath={.items[*].metadata.name}")
	for p := range strings.FieldsSeq(names) {
		write("log-"+p+".txt", "logs", "--all-containers", "--tail=2000", p)
		write("describe-"+p+".txt", "describe", "pod", p)
	}
	return dir
}
