//go:build e2e

package image_test

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The guide's first commands: docker build and docker push, here to a registry on loopback; what
// is pulled from it runs.
func TestPublish(t *testing.T) {
	guide(t)
	const address = "127.0.0.1:5001"
	config := filepath.Join(t.TempDir(), "registry.yaml")
	yaml := fmt.Sprintf("version: 0.1\nlog: {level: warn}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %q}\n", t.TempDir(), address)
	if err := os.WriteFile(config, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	registry := exec.Command("nsenter", "-t", engine, "-n", tool(t, "registry"), "serve", config)
	registry.Stderr = os.Stderr
	if err := registry.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = registry.Process.Kill()
		_ = registry.Wait()
	}()
	waitFor(t, "http://"+address+"/v2/")

	remote := address + "/" + image
	must(t, "docker", "tag", image, remote)
	pushed := must(t, "docker", "push", remote)
	if !strings.Contains(pushed, "latest: digest: sha256:") {
		t.Errorf("docker push printed %s", pushed)
	}
	must(t, "docker", "rmi", remote)
	must(t, "docker", "pull", "-q", remote)
	t.Cleanup(func() { _, _ = output("docker", "rmi", "-f", remote) })
	c := start(t, remote, "18140", hardened...)
	c.answer(t)
}

// waitFor waits until an address answers 200.
func waitFor(t *testing.T, url string) string {
	t.Helper()
	last := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		answer, err := client.Get(url)
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err == nil && answer.StatusCode == http.StatusOK {
			return string(body)
		}
		last = answer.Status
	}
	t.Fatalf("%s: %s", url, last)
	return ""
}

// compose runs docker compose, as the plugin does, on deploy/compose.
func compose(t *testing.T, args ...string) string {
	t.Helper()
	dir := filepath.Join(clone, "deploy/compose")
	out, err := outputIn(dir, tool(t, "docker-compose"), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The images of Prometheus and Grafana cannot be pulled here: the file is read
// by compose itself, which fills in variables and checks names, the mounted
// files must be there, and the server is started by it.
func TestCompose(t *testing.T) {
	guide(t)
	for _, files := range [][]string{{"-f", "compose.yaml"}, {"-f", "compose.yaml", "-f", "policy.yaml"}} {
		t.Setenv("ARTIFACTS", filepath.Join(clone, "internal/demo/artifact"))
		var config struct {
			Services map[string]struct {
				Image string
				Ports []struct {
					HostIP string `json:"host_ip"`
				}
				Volumes []struct{ Type, Source, Target string }
			}
		}
		if err := json.Unmarshal([]byte(compose(t, append(files, "config", "--format", "json")...)), &config); err != nil {
			t.Fatal(err)
		}
		if len(config.Services) != 3 || config.Services["carla-rl-serving"].Image != image {
			t.Errorf("%v: the services are %+v", files, config.Services)
		}
		for name, s := range config.Services {
			for _, v := range s.Volumes {
				if _, err := os.Stat(v.Source); v.Type == "bind" && err != nil {
					t.Errorf("%v: %s mounts what is not there: %v", files, name, err)
				}
			}
			for _, p := range s.Ports {
				if p.HostIP != "127.0.0.1" {
					t.Errorf("%s listens on %q", name, p.HostIP)
				}
			}
		}
	}

	defer compose(t, "down", "-v", "-t", "20")
	compose(t, "up", "-d", "--no-deps", "--no-build", "--pull", "never", "carla-rl-serving")
	waitFor(t, "http://127.0.0.1:8080/readyz")
	if status, body, err := predict("8080"); err != nil || status != http.StatusOK {
		t.Errorf("the guide's request through the published port: %d %s %v", status, body, err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:8080/metadata", nil)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{"carla-rl-serving:8080": http.StatusOK, "elsewhere.example": http.StatusMisdirectedRequest} {
		request.Host = host
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("Host %s: %s, want %d", host, answer.Status, want)
		}
	}
}

// Prometheus reads the configuration and the rules that compose mounts side by
// side.
func TestComposePrometheus(t *testing.T) {
	must(t, filepath.Join(clone, "tools/need"), "promtool")
	dir := t.TempDir()
	for from, to := range map[string]string{"compose/prometheus.yaml": "prometheus.yaml", "monitoring/rules.yaml": "rules.yaml"} {
		data, err := os.ReadFile(filepath.Join(clone, "deploy", from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := outputIn(dir, "promtool", "check", "config", "prometheus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "rules found") || strings.Contains(out, "0 rules found") {
		t.Errorf("promtool: %s", out)
	}
}

// The image for arm64 is built by the same file; its program runs under qemu's
// user mode and answers.
func TestImageForArm64(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "arm64.tar")
	must(t, script("build"), "--arch", "arm64", "-o", archive)
	c := readOCI(t, archive)
	if c.config.Architecture != "arm64" || c.config.OS != "linux" {
		t.Errorf("the image is for %s/%s", c.config.OS, c.config.Architecture)
	}
	program := c.program(t)
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Machine != elf.EM_AARCH64 || f.Section(".interp") != nil {
		t.Errorf("the program is for %v, or not static", f.Machine)
	}
	must(t, filepath.Join(clone, "tools/need"), "qemu-aarch64-static")
	if said := must(t, "qemu-aarch64-static", program, "version"); !strings.Contains(said, "linux/arm64") {
		t.Errorf("it says %s", said)
	}
	server := exec.Command("nsenter", "-t", engine, "-n", "qemu-aarch64-static", program, "serve", filepath.Join(clone, "internal/demo/artifact"), "--port", "18150")
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	container{port: "18150"}.answer(t)
}

// The image with ONNX Runtime brings its library and the C library that they
// are linked to, and answers on that engine.
func TestImageWithOnnxRuntime(t *testing.T) {
	must(t, filepath.Join(clone, "tools/need"), "gcc", "onnxruntime")
	python := strings.TrimSpace(must(t, filepath.Join(clone, "training/venv.sh"), "onnxruntime", filepath.Join(clone, "tools/requirements-onnxruntime.txt")))
	library := strings.TrimSpace(must(t, python, "-c", "import sysconfig; print(sysconfig.get_path('purelib') + '/onnxruntime/capi')"))
	archive := filepath.Join(t.TempDir(), "ort.tar")
	must(t, script("build"), "--target", "ort", "--onnxruntime", library, "-t", "your-registry/carla-rl-serving:ort", "-o", archive)

	c := readOCI(t, archive)
	for name := range c.entries {
		if base := filepath.Base(name); base == "sh" || base == "bash" || base == "busybox" {
			t.Errorf("there is a shell: /%s", name)
		}
	}
	if c.config.Config.User != "1000:1000" {
		t.Errorf("the user is %q", c.config.Config.User)
	}
	loaded := filepath.Join(t.TempDir(), "docker.tar")
	must(t, script("convert"), archive, loaded, "your-registry/carla-rl-serving:ort")
	must(t, "docker", "load", "-q", "-i", loaded)
	running := start(t, "your-registry/carla-rl-serving:ort", "18160", append([]string{"-e", "CARLA_RL_ENGINE=onnxruntime"}, hardened...)...)
	running.answer(t)
	if logs := must(t, "docker", "logs", running.id); !strings.Contains(logs, "onnxruntime") {
		t.Errorf("no word of ONNX Runtime in the log:\n%s", logs)
	}
}
