//go:build e2e

package image_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// maxImageBytes is the budget of the static image, unpacked.
const maxImageBytes = 32 << 20

func TestImageIsSmall(t *testing.T) {
	g := guide(t)
	var sum int64
	for _, e := range g.entries {
		sum += e.header.Size
	}
	t.Logf("%.1f MiB in %d files and folders", float64(sum)/(1<<20), len(g.entries))
	for what, n := range map[string]int64{"files": sum, "the engine's count": g.size} {
		if n > maxImageBytes {
			t.Errorf("%s: %d bytes, more than %d", what, n, maxImageBytes)
		}
	}
}

// The program is all that can be run: no shell, no loader, no other tool.
func TestImageHoldsNoShell(t *testing.T) {
	g := guide(t)
	var runnable, writable []string
	for name, e := range g.entries {
		h := e.header
		switch h.Typeflag {
		case tar.TypeDir:
			if h.Mode&0o002 != 0 {
				writable = append(writable, name)
			}
		case tar.TypeReg:
			if h.Mode&0o111 != 0 {
				runnable = append(runnable, name)
			}
			if h.Mode&0o022 != 0 {
				t.Errorf("%s can be written by others: mode %o", name, h.Mode)
			}
		default:
			t.Errorf("%s is neither a file nor a folder", name)
		}
		if h.Mode&0o6000 != 0 {
			t.Errorf("%s is set-uid or set-gid", name)
		}
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s belongs to %d:%d, and the server could change it", name, h.Uid, h.Gid)
		}
		if bytes.HasPrefix(e.data, []byte("#!")) {
			t.Errorf("%s is a script", name)
		}
	}
	slices.Sort(writable)
	if want := []string{"usr/local/bin/carla-rl"}; !slices.Equal(runnable, want) {
		t.Errorf("what can be run is %q, want %q", runnable, want)
	}
	if want := []string{"app/logs", "tmp"}; !slices.Equal(writable, want) {
		t.Errorf("folders that all may write to are %q, want %q", writable, want)
	}

	f, err := elf.Open(g.program(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Section(".interp") != nil {
		t.Error("the program is not static: it names a loader")
	}
	if out, err := output("docker", "run", "--rm", "--entrypoint", "sh", image, "-c", "true"); err == nil || !strings.Contains(err.Error(), "executable file not found") {
		t.Errorf("sh in the image: %v %s", err, out)
	}
}

func TestImageHoldsTheDemoPolicy(t *testing.T) {
	g := guide(t)
	demo := filepath.Join(clone, "internal/demo/artifact")
	members, err := os.ReadDir(demo)
	if err != nil {
		t.Fatal(err)
	}
	if len(members) == 0 {
		t.Fatal("there is no demo policy")
	}
	for _, m := range members {
		want, err := os.ReadFile(filepath.Join(demo, m.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := g.entries["app/artifacts/"+m.Name()]; !ok || !bytes.Equal(e.data, want) {
			t.Errorf("/app/artifacts/%s is not that of the clone", m.Name())
		}
	}
	for _, dir := range []string{"app/config", "app/logs"} {
		if e, ok := g.entries[dir]; !ok || e.header.Typeflag != tar.TypeDir {
			t.Errorf("the image has no folder /%s", dir)
		}
	}
}

func TestImageConfiguration(t *testing.T) {
	c := guide(t).config.Config
	want := c
	want.User = "1000:1000"
	want.ExposedPorts = map[string]struct{}{"8080/tcp": {}}
	want.Env = []string{"PATH=/usr/local/bin", "HOST=0.0.0.0", "ARTIFACT_DIR=/app/artifacts"}
	want.Entrypoint, want.Cmd = []string{"/usr/local/bin/carla-rl"}, []string{"serve"}
	want.WorkingDir, want.StopSignal = "/app", "SIGTERM"
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("want - got +\n%s", diff)
	}
	for _, label := range []string{"title", "description", "url", "source", "documentation", "licenses"} {
		if c.Labels["org.opencontainers.image."+label] == "" {
			t.Errorf("no label %s", label)
		}
	}
}

// The bill of materials in the image lists each module that the linker put into
// the program, in the same version, as another program reads them.
func TestImageListsItsParts(t *testing.T) {
	g := guide(t)
	var bom struct {
		BOMFormat   string
		SpecVersion string
		Metadata    struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(g.entries["usr/share/sbom/carla-rl.cdx.json"].data, &bom); err != nil {
		t.Fatal(err)
	}
	if bom.BOMFormat != "CycloneDX" || bom.SpecVersion != "1.6" {
		t.Errorf("it is %s %s", bom.BOMFormat, bom.SpecVersion)
	}
	program := g.program(t)
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, c := range bom.Components {
		listed[c.Name] = c.Version
	}
	linked := map[string]string{"std": info.GoVersion}
	for _, m := range info.Deps {
		linked[m.Path] = m.Version
	}
	if diff := cmp.Diff(linked, listed); diff != "" {
		t.Errorf("linked - listed +\n%s", diff)
	}
	if len(listed) < 10 {
		t.Errorf("only %d parts are listed: %q", len(listed), slices.Sorted(maps.Keys(listed)))
	}
	if bom.Metadata.Component.Name != "github.com/carla-rl/carla-rl-serving" {
		t.Errorf("it is about %s", bom.Metadata.Component.Name)
	}
	if said := must(t, program, "version"); !strings.Contains(said, bom.Metadata.Component.Version) {
		t.Errorf("it is about version %s of\n%s", bom.Metadata.Component.Version, said)
	}

	var other struct {
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal([]byte(must(t, tool(t, "cyclonedx-gomod"), "bin", "-json", "-std=false", program)), &other); err != nil {
		t.Fatal(err)
	}
	read := map[string]string{"std": info.GoVersion}
	for _, c := range other.Components {
		read[c.Name] = c.Version
	}
	if diff := cmp.Diff(read, listed); diff != "" {
		t.Errorf("cyclonedx-gomod - ours +\n%s", diff)
	}
}

// digests returns what makes up each file of an image.
func (c *contents) digests() map[string]fileFacts {
	all := map[string]fileFacts{}
	for name, e := range c.entries {
		all[name] = fileFacts{e.header.Typeflag, e.header.Mode & 0o7777, e.header.Uid, e.header.Gid, e.header.ModTime.Unix(), sha256.Sum256(e.data)}
	}
	return all
}

type fileFacts struct {
	Type     byte
	Mode     int64
	UID, GID int
	Modified int64
	Sum      [sha256.Size]byte
}

// Two builds by buildah are the same image, digest for digest, whatever umask
// and time zone they run with; a build by Docker, with another build cache,
// holds the same files; and `make build` gives the same program.
func TestImageIsReproducible(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "image.tar")
	digest := strings.TrimSpace(must(t, script("reproduce"), "-o", archive))
	if !strings.HasPrefix(digest, "sha256:") {
		t.Fatalf("tools/image/reproduce printed %q", digest)
	}
	t.Log("two builds by buildah:", digest)

	g := guide(t)
	built := readOCI(t, archive)
	if diff := cmp.Diff(built.digests(), g.digests()); diff != "" {
		t.Errorf("buildah - docker +\n%s", diff)
	}
	// These come from the clone where a build has no arguments, and into the
	// labels only where it has.
	labels := built.config.Config.Labels
	if v := labels["org.opencontainers.image.version"]; v == "" || v == "unknown" {
		t.Errorf("the label version is %q", v)
	}

	must(t, "make", "-s", "-C", clone, "build")
	data, err := os.ReadFile(filepath.Join(clone, "bin/carla-rl"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, g.entries["usr/local/bin/carla-rl"].data) {
		t.Error("make build gives another program than the image holds")
	}
}
