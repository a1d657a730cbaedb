//go:build unix

package repository_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
)

// full runs the numbers of the long form of a test in place of a few.
func full(few, all int) int {
	if os.Getenv("CARLA_RL_CHAOS") != "" {
		return all
	}
	return few
}

// weights is a safetensors file of one linear layer, of one value to one, or,
// where there are more weights, of as many values to one.
func weights(bias float32, w ...float32) []byte {
	header := fmt.Sprintf(`{"0.weight":{"dtype":"F32","shape":[1,%d],"data_offsets":[0,%d]},"0.bias":{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}}`,
		len(w), 4*len(w), 4*len(w), 4*len(w)+4)
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	for _, v := range append(w, bias) {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// linearCard is the card of a policy that computes weight·x + bias from one
// feature, with the digest of its model.
func linearCard(version string, model []byte, more string) string {
	sum := sha256.Sum256(model)
	return fmt.Sprintf(`model_name: linear
version: %s
model_type: pytorch
model_filename: model.safetensors
architecture: [{linear: 0}]
observation: [{name: x, low: -10, high: 10}]
action: [{name: y, low: -1000, high: 1000}]
artifact_hashes: {model.safetensors: "sha256:%s"}
%s`, version, hex.EncodeToString(sum[:]), more)
}

// putLinear writes the folder of a policy that multiplies by factor.
func putLinear(t testing.TB, dir, version string, factor float32) {
	t.Helper()
	putFiles(t, dir, version, weights(0, factor), "")
}

func putFiles(t testing.TB, dir, version string, model []byte, more string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"model.safetensors": string(model), "model_card.yaml": linearCard(version, model, more)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// real opens policies as a server does.
func real(a *artifact.Artifact) (*policy.Policy, error) { return policy.Open(a, policy.Options{}) }

// act asks a version on a lane.
func act(v *repository.Version, lane int, x float32) (float32, error) {
	c := &policy.Call{Rows: 1, In: [][]float32{{x}}, Actions: make([]float32, 1), Deterministic: true}
	err := v.Policy.Runner(lane).Act(c)
	return c.Actions[0], err
}

// TestReloadsUnderLoad: many reload and roll back one model while others ask it.
// No request fails, each answer is that of the version that it names, and
// versions of before leave memory after their last request.
func TestReloadsUnderLoad(t *testing.T) {
	const admins, askers = 32, 4
	acts := full(2, 64)
	dir := t.TempDir()
	const releases = 5
	for i := range releases {
		putLinear(t, filepath.Join(dir, "releases", fmt.Sprint(i)), fmt.Sprintf("v0.%d.0", i+1), float32(i+1))
	}
	link := filepath.Join(dir, "current")
	point := func(i int, name string) error {
		if err := os.Symlink(filepath.Join("releases", fmt.Sprint(i)), filepath.Join(dir, name)); err != nil {
			return err
		}
		return os.Rename(filepath.Join(dir, name), link)
	}
	if err := point(0, "first"); err != nil {
		t.Fatal(err)
	}
	var failed atomic.Int32
	r := open(t, repository.Options{Root: link, Open: real, Lanes: askers, Loaded: func(v *repository.Version) {
		if v.State != repository.StateReady {
			failed.Add(1)
			t.Errorf("%s: %s", v.Name, v.Reason)
		}
	}})
	stop := make(chan struct{})
	var asking, acting sync.WaitGroup
	var asked atomic.Int64
	seen := [releases + 1]atomic.Bool{}
	for lane := range askers {
		asking.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				v, err := r.Lookup("linear", "")
				if err != nil {
					t.Error(err)
					return
				}
				x := float32(n%19) - 9
				y, err := act(v, lane, x)
				var release int
				if _, e := fmt.Sscanf(v.Name, "v0.%d.0", &release); e != nil || err != nil || y != float32(release)*x {
					t.Errorf("version %s gave %v for %v: %v", v.Name, y, x, err)
					return
				}
				seen[release].Store(true)
				asked.Add(1)
				if n%8 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	for id := range admins {
		acting.Go(func() {
			random := rand.New(rand.NewPCG(uint64(id), 7))
			for n := range acts {
				if err := point(random.IntN(releases), fmt.Sprintf("next-%d-%d", id, n)); err != nil {
					t.Error(err)
					return
				}
				if n%2 == 0 {
					p, err := r.Reload(t.Context(), "")
					if err != nil || p.Error != "" {
						t.Errorf("reload: %v %s", err, p.Error)
						return
					}
				} else if _, err := r.Rollback("linear"); err != nil && !errors.Is(err, repository.ErrNoPrevious) {
					t.Errorf("rollback: %v", err)
					return
				}
			}
		})
	}
	acting.Wait()
	for i := range 2 { // A busy machine may have let nobody ask between two swaps.
		if err := point(i, fmt.Sprint("last-", i)); err != nil {
			t.Fatal(err)
		}
		if p, err := r.Reload(t.Context(), ""); err != nil || p.Error != "" {
			t.Fatalf("reload: %v %s", err, p.Error)
		}
		for until := time.Now().Add(time.Minute); !seen[i+1].Load() && time.Now().Before(until); {
			time.Sleep(time.Millisecond)
		}
	}
	close(stop)
	asking.Wait()
	versions := 0
	for i := range seen {
		if seen[i].Load() {
			versions++
		}
	}
	if asked.Load() == 0 || versions < 2 {
		t.Errorf("%d requests were answered by %d versions", asked.Load(), versions)
	}
	wantMemory(t, r, 3) // what answers, what answered before, and what lies under the root
}

// wantMemory waits until no more than so many versions are in memory.
func wantMemory(t *testing.T, r *repository.Repository, most int) {
	t.Helper()
	for begun := time.Now(); r.InMemory() > most; time.Sleep(time.Millisecond) {
		runtime.GC()
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("%d versions are in memory, want at most %d: %s", r.InMemory(), most, state(r))
		}
	}
}

// TestAVersionIsHeldAsLongAsItIsUsed and no longer.
func TestAVersionIsHeldAsLongAsItIsUsed(t *testing.T) {
	dir := t.TempDir()
	putLinear(t, dir, "v0.1.0", 1)
	r := open(t, repository.Options{Root: dir, Open: real})
	used, err := r.Lookup("", "")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		putLinear(t, dir, fmt.Sprintf("v0.%d.0", i+2), float32(i+2))
		wantReload(t, r, "", fmt.Sprintf("linear changed +v0.%d.0", i+2))
	}
	wantMemory(t, r, 3)
	runtime.GC()
	if n := r.InMemory(); n != 3 {
		t.Errorf("%d versions are in memory, want the one that answers, the one before and the one that is used", n)
	}
	if y, err := act(used, 0, 4); err != nil || y != 4 {
		t.Errorf("a version that was replaced gave %v, %v", y, err)
	}
	// From here on nobody has it.
	wantMemory(t, r, 2)
}

// TestRefusedVersionsSayWhy: whatever is wrong with the new version, the one
// that answers goes on, and the reason names the file, the field or the vector.
func TestRefusedVersionsSayWhy(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	golden := "golden: {vectors: [{observation: {x: 1}, action: {y: 2}}, {observation: {x: 2}, action: {y: 5}}]}\n"
	versions := 0
	f := func(model []byte, more, want string) {
		t.Helper()
		versions++
		dir := t.TempDir()
		putLinear(t, dir, "v0.1.0", 3)
		r := open(t, repository.Options{Root: dir, Open: real})
		putFiles(t, dir, "v0.2.0", model, more)
		got := reload(t, r, "")
		if !strings.HasPrefix(got, "linear failed -v0.2.0 (") || !strings.Contains(got, want) || strings.Contains(got, dir) {
			t.Errorf("got %s, want %q in it", got, want)
		}
		v, err := r.Lookup("", "")
		if err != nil || v.Name != "v0.1.0" {
			t.Errorf("%v answers, %v", v, err)
			return
		}
		if y, err := act(v, 0, 2); err != nil || y != 6 {
			t.Errorf("it gives %v, %v", y, err)
		}
	}
	f(weights(0, 2), golden, "golden vector 1")
	f(weights(0, nan), "", "parameter 0.weight holds NaN at element 0")
	f(weights(inf, 1), "", "parameter 0.bias holds +Inf at element 0")
	f(weights(0, 1, 2, 3), "", "observation")
	f(weights(5000, 1), "postprocess: none\n", "outside its contract of -1000 to 1000")
	f([]byte("no tensors"), "", "model.safetensors")
	ledger.Add(t, ledger.Row{
		ID: "A4", Test: "versions that miss a golden vector, hold NaN or infinities, have other shapes or leave their bounds", Inputs: ledger.N(versions, "versions"),
		Lost: ledger.Nothing, Figures: []string{"each refused with its file, its field or the first vector, and the version before goes on"},
	})
}

// TestBrokenFilesNeverServe swaps a good version for one that is cut off, has a
// bit flipped, or is no file at all.
func TestBrokenFilesNeverServe(t *testing.T) {
	dir := t.TempDir()
	putLinear(t, dir, "v0.1.0", 3)
	r := open(t, repository.Options{Root: dir, Open: real, Limits: artifact.Limits{RequireHashes: true}})
	model := weights(0, 4)
	files := map[string][]byte{"model.safetensors": model, "model_card.yaml": []byte(linearCard("v0.2.0", model, ""))}
	still := func(what, file string) {
		t.Helper()
		p, err := r.Reload(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		reason := p.Error
		for _, m := range p.Models {
			for _, v := range m.Failed {
				reason += v.Reason
			}
		}
		if !strings.Contains(reason, file) || strings.Contains(reason, dir) {
			t.Errorf("%s: the reason does not name %s: %q", what, file, reason)
		}
		v, err := r.Lookup("", "")
		if err != nil || v.Name != "v0.1.0" {
			t.Fatalf("%s: %v, %v", what, state(r), err)
		}
		if y, err := act(v, 0, 2); err != nil || y != 6 {
			t.Errorf("%s: it gives %v, %v", what, y, err)
		}
	}
	write := func(name string, data []byte) {
		t.Helper()
		at := filepath.Join(dir, name)
		if err := os.RemoveAll(at); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	restore := func() {
		t.Helper()
		for name, data := range files {
			write(name, data)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	restore()
	for range full(20, 200) {
		at := random.IntN(len(model))
		write("model.safetensors", model[:at])
		still(fmt.Sprintf("cut off at %d", at), "model.safetensors")
	}
	restore()
	card := files["model_card.yaml"]
	for range full(20, 200) {
		at := random.IntN(len(card) - 4) // but for the line's end and the brace all of it is needed
		write("model_card.yaml", card[:at])
		// Which file it names follows from what is left of the card: the name of
		// the model may be cut off too.
		still(fmt.Sprintf("card cut off at %d", at), ": ")
	}
	restore()
	for range full(100, 1000) {
		flipped := append([]byte(nil), model...)
		flipped[random.IntN(len(flipped))] ^= 1 << random.IntN(8)
		write("model.safetensors", flipped)
		still("a bit flipped", "model.safetensors")
	}
	for _, name := range []string{"model.safetensors", "model_card.yaml"} {
		at := filepath.Join(dir, name)
		restore()
		write(name, nil)
		still("empty", name)
		if err := os.Remove(at); err != nil {
			t.Fatal(err)
		}
		if name != "model_card.yaml" { // without a card the folder is another artifact
			still("gone", name)
		}
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		still("a folder", name)
		if err := os.RemoveAll(at); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(at, 0o644); err != nil {
			t.Fatal(err)
		}
		still("a FIFO", name)
		if err := os.Remove(at); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/dev/zero", at); err != nil {
			t.Fatal(err)
		}
		still("a link to a device", name)
		write(name, []byte{1})
		if err := os.Truncate(at, 10<<30); err != nil {
			t.Fatal(err)
		}
		still("10 GiB of nothing", name)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	still("the folder is gone", "the artifact root")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	still("the folder is empty", "the artifact root")
	restore()
	if got := reload(t, r, ""); !strings.Contains(got, "linear changed +v0.2.0") {
		t.Errorf("got %s", got)
	}
	want(t, r, "linear v0.2.0=ready previous v0.1.0 | v0.2.0 ready | kept v0.1.0")
}

// TestFilesThatChangeWhileTheyAreRead belong to no version.
func TestFilesThatChangeWhileTheyAreRead(t *testing.T) {
	dir := t.TempDir()
	putVersion(t, dir, "v0.1.0", "a")
	swap := atomic.Bool{}
	r := open(t, repository.Options{Root: dir, Open: func(a *artifact.Artifact) (*policy.Policy, error) {
		if swap.CompareAndSwap(true, false) {
			put(t, filepath.Join(dir, "preprocessor.pkl"), "of the next version")
		}
		return openFake(a)
	}})
	swap.Store(true)
	putVersion(t, dir, "v0.2.0", "b")
	if got := reload(t, r, ""); !strings.Contains(got, "changed while they were read") {
		t.Errorf("got %s", got)
	}
	want(t, r, "carla-ppo v0.1.0=ready | v0.2.0 failed | kept v0.1.0")
	wantReload(t, r, "", "carla-ppo changed +v0.2.0")
}

// TestConfigMapFlip is how Kubernetes changes a mounted ConfigMap: the files are
// links through ..data, a link that is replaced in one step.
func TestConfigMapFlip(t *testing.T) {
	dir := t.TempDir()
	flip := func(stamp, version string, factor float32) {
		t.Helper()
		putLinear(t, filepath.Join(dir, stamp), version, factor)
		if err := os.Symlink(stamp, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	flip("..2026_01", "v0.1.0", 1)
	for _, name := range []string{"model.safetensors", "model_card.yaml"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	r := open(t, repository.Options{Root: dir, Open: real, Poll: 5 * time.Millisecond})
	flip("..2026_02", "v0.2.0", 2)
	if err := os.RemoveAll(filepath.Join(dir, "..2026_01")); err != nil {
		t.Fatal(err)
	}
	eventually(t, r, "linear v0.2.0=ready previous v0.1.0 | v0.2.0 ready | kept v0.1.0")
	flip("..2026_03", "v0.1.0", 1)
	eventually(t, r, "linear v0.1.0=ready previous v0.2.0 | v0.1.0 ready | kept v0.2.0")
}

// TestLoadsHaveBudgets of time and memory.
func TestLoadsHaveBudgets(t *testing.T) {
	let := make(chan struct{})
	slow := atomic.Bool{}
	dir := t.TempDir()
	putVersion(t, dir, "v0.1.0", "a")
	r := open(t, repository.Options{Root: dir, Loaders: 1, LoadTimeout: 20 * time.Millisecond, MaxLoadMemory: 1000, Open: func(a *artifact.Artifact) (*policy.Policy, error) {
		if slow.Load() {
			<-let
		}
		return openFake(a)
	}})
	slow.Store(true)
	putVersion(t, dir, "v0.2.0", "b")
	wantReload(t, r, "", "carla-ppo failed -v0.2.0 (the load took longer than 20ms (model.load_timeout))")
	// Until it has come to its end, no other is begun.
	wantReload(t, r, "", "carla-ppo failed -v0.2.0 (1 loads that took longer than 20ms (model.load_timeout) go on still)")
	slow.Store(false)
	close(let)
	for reload(t, r, "") != "carla-ppo changed +v0.2.0" {
		time.Sleep(time.Millisecond)
	}
	putVersion(t, dir, "v0.3.0", strings.Repeat("x", 500))
	if got := reload(t, r, ""); !strings.Contains(got, "-v0.3.0 (loading 558 bytes of files takes about 2232 bytes of memory, and 1000 are allowed (model.max_load_memory))") {
		t.Errorf("got %s", got)
	}
	want(t, r, "carla-ppo v0.2.0=ready previous v0.1.0 | v0.3.0 failed | kept v0.2.0 | kept v0.1.0")
}
