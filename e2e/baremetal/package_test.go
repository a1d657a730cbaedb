//go:build e2e && linux

package baremetal_test

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// packaged are the files of both packages.
var packaged = []string{
	"/usr/bin/carla-rl",
	"/usr/lib/systemd/system/carla-rl.service",
	"/usr/lib/systemd/system/carla-rl.socket",
	"/etc/carla-rl/config.yaml",
	"/etc/carla-rl/carla-rl.env",
	"/var/lib/carla-rl/artifacts",
	"/usr/share/bash-completion/completions/carla-rl",
	"/usr/share/doc/carla-rl/copyright",
	"/usr/share/doc/carla-rl/THIRD_PARTY_LICENSES",
	"/usr/share/doc/carla-rl/examples/nginx.conf",
}

// TestDebianPackage installs the package, changes a setting, installs it again,
// removes and purges it.
func TestDebianPackage(t *testing.T) {
	dir := installed(t)
	for _, name := range packaged {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if got, want := strings.Fields(output(t, "dpkg-deb", "-I", packageFile(t, "deb"), "conffiles")), []string{"/etc/carla-rl/carla-rl.env", "/etc/carla-rl/config.yaml"}; strings.Join(got, " ") != strings.Join(want, " ") && strings.Join(got, " ") != want[1]+" "+want[0] {
		t.Errorf("conffiles %q", got)
	}
	program := filepath.Join(dir, "usr/bin/carla-rl")
	if out := output(t, program, "version"); !strings.Contains(out, "carla-rl") {
		t.Errorf("%q", out)
	}
	config := filepath.Join(dir, "etc/carla-rl/config.yaml")
	output(t, program, "check", "config", config)

	changed := read(t, config) + "# mine\n"
	write(t, config, changed)
	dpkg(t, dir, "-i", packageFile(t, "deb"))
	if read(t, config) != changed {
		t.Error("an upgrade changed the administrator's configuration")
	}
	artifact := filepath.Join(dir, "var/lib/carla-rl/artifacts/model_card.yaml")
	write(t, artifact, "x")
	dpkg(t, dir, "-r", "carla-rl")
	if _, err := os.Stat(program); err == nil {
		t.Error("the program is still there after its removal")
	}
	if read(t, config) != changed || read(t, artifact) != "x" {
		t.Error("a removal took the configuration or an artifact")
	}
	dpkg(t, dir, "-P", "carla-rl")
	if _, err := os.Stat(config); err == nil {
		t.Error("the configuration is still there after the purge")
	}
	if read(t, artifact) != "x" {
		t.Error("a purge took an artifact")
	}
}

// TestRPM installs the other package, which holds the same program.
func TestRPM(t *testing.T) {
	file := packageFile(t, "rpm")
	dir := t.TempDir()
	output(t, "rpm", "--root", dir, "--dbpath", "/var/lib/rpm", "--nodeps", "--noscripts", "--ignoreos", "-i", file)
	for _, name := range packaged {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if got := output(t, "rpm", "-qp", "--configfiles", file); !strings.Contains(got, "/etc/carla-rl/config.yaml") || !strings.Contains(got, "/etc/carla-rl/carla-rl.env") {
		t.Errorf("configuration files %q", got)
	}
	a, b := read(t, filepath.Join(dir, "usr/bin/carla-rl")), read(t, filepath.Join(installed(t), "usr/bin/carla-rl"))
	if sha256.Sum256([]byte(a)) != sha256.Sum256([]byte(b)) {
		t.Error("the two packages hold different programs")
	}
	if got := output(t, "rpm", "-qp", "--scripts", file); strings.Count(got, "systemctl") < 3 {
		t.Errorf("scripts %q", got)
	}
}

// TestPackageScripts holds what the scripts tell systemd, by a systemctl that
// writes it down.
func TestPackageScripts(t *testing.T) {
	const reload = "daemon-reload"
	const restart = "daemon-reload;try-restart carla-rl.service"
	const stop = "disable --now carla-rl.socket carla-rl.service"
	for _, c := range []struct{ script, args, want string }{
		{"postinstall", "configure ''", reload},     // dpkg, the first time
		{"postinstall", "configure 1.0.0", restart}, // dpkg, an upgrade
		{"postinstall", "1", reload},                // rpm, the first time
		{"postinstall", "2", restart},               // rpm, an upgrade
		{"preremove", "upgrade 1.1.0", ""},          // dpkg
		{"preremove", "remove", stop},               // dpkg
		{"preremove", "1", ""},                      // rpm, an upgrade
		{"preremove", "0", stop},                    // rpm
		{"postremove", "remove", reload},            // dpkg
		{"postremove", "purge", reload},             // dpkg
		{"postremove", "0", reload},                 // rpm
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "systemctl"), "#!/bin/sh\necho \"$*\" >>"+dir+"/calls\n")
		if err := os.Chmod(filepath.Join(dir, "systemctl"), 0o755); err != nil {
			t.Fatal(err)
		}
		script, err := filepath.Abs(filepath.Join(root, "deploy/packages", c.script))
		if err != nil {
			t.Fatal(err)
		}
		// A machine that runs systemd, for this script alone.
		out, err := exec.Command("unshare", "-m", "sh", "-ec", "mount -t tmpfs none /run; mkdir -p /run/systemd/system; PATH="+dir+":$PATH; "+script+" "+c.args).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", c.script, c.args, err, out)
		}
		calls, _ := os.ReadFile(filepath.Join(dir, "calls")) // none where nothing was called
		if got := strings.ReplaceAll(strings.TrimSpace(string(calls)), "\n", ";"); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.script, c.args, got, c.want)
		}
	}
}
