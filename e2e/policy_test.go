//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// claimVolume is a volume of the node for the claim of the example.
const claimVolume = `
apiVersion: v1
kind: PersistentVolume
metadata: {name: policy}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteMany], hostPath: {path: /var/lib/kubelet/policy-volume}}
`

// TestPolicyReachesAPod serves a policy by each way that the examples have, in a
// namespace that admits restricted pods only. The policy is the demo's under
// another name, so that what answers is not what lies in the image.
func TestPolicyReachesAPod(t *testing.T) {
	ns := namespace(t, "policy-ways", restricted)
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "k8s"), os.DirFS(k8s)); err != nil {
		t.Fatal(err)
	}
	examples := filepath.Join(dir, "k8s", "examples")
	at := func(way string) string {
		policy := filepath.Join(dir, way)
		if err := os.CopyFS(policy, os.DirFS("../internal/demo/artifact")); err != nil {
			t.Fatal(err)
		}
		renamed(t, filepath.Join(policy, "model_card.yaml"), way)
		return policy
	}
	served := func(way string) {
		t.Helper()
		rolledOut(t, ns, "model-serving")
		found, err := pods(ns, "app=model-serving")
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		for _, p := range found {
			if !p.ready() {
				continue // an old one, which ends
			}
			asked++
			if body := expect(t, 200, "POST", "http://"+p.Status.PodIP+":8080/predict", guideRequest); !strings.Contains(body, `"model":"`+way+`"`) {
				t.Errorf("%s: the answer is not of that policy: %s", way, body)
			}
		}
		if asked != 2 {
			t.Errorf("%s: %d pods are ready, want 2", way, asked)
		}
	}
	// The base images of the Dockerfiles are the registry's.
	const local = "127.0.0.1:5000/library/busybox:latest"
	tag(t, dir, "FROM "+local+"\n", "library/busybox:1.37", dir+"/k8s/base")

	t.Run("ConfigMap", func(t *testing.T) {
		policy := at("configmap")
		if err := os.RemoveAll(filepath.Join(examples, "configmap", "policy")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(policy, filepath.Join(examples, "configmap", "policy")); err != nil {
			t.Fatal(err)
		}
		shell(t, "kubectl apply --server-side -n "+ns+" -k "+examples+"/configmap")
		served("configmap")
	})
	t.Run("init container", func(t *testing.T) {
		b, err := os.ReadFile(filepath.Join(examples, "init-container", "Dockerfile"))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(b), "FROM busybox:1.37\n", "FROM "+local+"\n", 1)
		if text == string(b) {
			t.Fatalf("the Dockerfile is not FROM busybox:1.37: %s", b)
		}
		tag(t, dir, text, "your-registry/your-policy:v0.1.0", at("init-container"))
		shell(t, "kubectl apply --server-side -n "+ns+" -k "+examples+"/init-container")
		served("init-container")
	})
	t.Run("image volume", func(t *testing.T) {
		b, err := os.ReadFile(filepath.Join(examples, "image-volume", "Dockerfile"))
		if err != nil {
			t.Fatal(err)
		}
		// Another name: the node has the image of the init container.
		tag(t, dir, string(b), "your-registry/your-policy:v0.1.0-volume", at("image-volume"))
		file := filepath.Join(dir, "k8s", "components", "policy-from-image-volume", "patch.yaml")
		replaced(t, file, "your-policy:v0.1.0", "your-policy:v0.1.0-volume")
		shell(t, "kubectl apply --server-side -n "+ns+" -k "+examples+"/image-volume")
		served("image-volume")
	})
	t.Run("volume claim", func(t *testing.T) {
		volume := filepath.Join(os.Getenv(stateEnv), "kubelet", "policy-volume")
		if err := os.MkdirAll(volume, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(volume, 1000, 1000); err != nil {
			t.Fatal(err)
		}
		apply(t, "", claimVolume)
		t.Cleanup(func() {
			if _, err := run("", "kubectl", "delete", "pv", "policy", "--wait=false"); err != nil {
				t.Log(err)
			}
		})
		policy := at("volume-claim")
		in := "kubectl -n " + ns + " "
		shell(t, in+"apply --server-side -k "+examples+"/volume-claim")
		// Without the files the new pods do not start, and the old ones serve on.
		waitFor(t, "a new pod that ended for want of files", func() error {
			found, err := pods(ns, "app=model-serving")
			if err != nil {
				return err
			}
			ready, ended := 0, 0
			for _, p := range found {
				if p.ready() {
					ready++
				}
				for _, c := range p.Status.ContainerStatuses {
					if !c.Ready && c.LastState.Terminated != nil && c.LastState.Terminated.ExitCode != 0 {
						ended++
					}
				}
			}
			if ready != 2 || ended == 0 {
				return fmt.Errorf("%d pods are ready, want the 2 old ones; %d new ones ended", ready, ended)
			}
			return nil
		})
		for _, line := range []string{
			"apply -f " + examples + "/volume-claim/loader.yaml",
			"wait --for=condition=Ready pod/policy-loader --timeout=5m",
			"cp " + policy + " policy-loader:/policy/v0.1.0",
			"delete pod policy-loader",
			"rollout restart deployment/model-serving",
		} {
			shell(t, in+line)
		}
		served("volume-claim")
	})
}

// renamed gives the model of a card another name.
func renamed(t *testing.T, card, name string) {
	t.Helper()
	replaced(t, card, "model_name: carla-ppo\n", "model_name: "+name+"\n")
}

func replaced(t *testing.T, file, from, to string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), from, to, 1)
	if text == string(b) {
		t.Fatalf("%s has no %q", file, from)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tag builds an image into the cluster's registry.
func tag(t *testing.T, dir, dockerfile, name, context string) {
	t.Helper()
	file := filepath.Join(dir, "Dockerfile")
	if err := os.WriteFile(file, []byte(dockerfile), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run("", "../tools/cluster/image", name, "--tls-verify=false", "-f", file, context); err != nil {
		t.Fatal(err)
	}
}
