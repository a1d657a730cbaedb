package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/experience/spool"
)

func open(t *testing.T, o spool.Options) *spool.Queue {
	t.Helper()
	q, err := spool.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

// noSync is for tests in which nothing is killed.
func noSync(*os.File) error { return nil }

func put(t *testing.T, q *spool.Queue, data string) {
	t.Helper()
	if err := q.Put([]byte(data), len(data)); err != nil {
		t.Fatal(err)
	}
}

// take takes everything out.
func take(t *testing.T, q *spool.Queue) (got []string) {
	t.Helper()
	for {
		list, err := q.Peek(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return got
		}
		for _, r := range list {
			got = append(got, string(r.Data))
		}
		if err := q.Drop(len(list)); err != nil {
			t.Fatal(err)
		}
	}
}

func numbered(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("record %d %s", i, strings.Repeat("x", i%700)))
	}
	return list
}

func TestRecordsComeOutInOrder(t *testing.T) {
	q := open(t, spool.Options{Dir: t.TempDir(), MaxBytes: 2 << 20, Sync: noSync})
	want := numbered(2000)
	for _, r := range want {
		put(t, q, r)
	}
	if s := q.Stats(); s.Records != 2000 || s.Count == 0 || s.Oldest.IsZero() {
		t.Errorf("stats: %+v", s)
	}
	if got := take(t, q); !slices.Equal(got, want) {
		t.Errorf("got %d records, want %d in order", len(got), len(want))
	}
	if s := q.Stats(); s != (spool.Stats{}) {
		t.Errorf("stats of an empty queue: %+v", s)
	}
	put(t, q, "again")
	if got := take(t, q); !slices.Equal(got, []string{"again"}) {
		t.Errorf("after it was empty: %q", got)
	}
}

func TestPeekIsBoundedAndTakesNothing(t *testing.T) {
	q := open(t, spool.Options{Dir: t.TempDir()})
	for _, r := range []string{"aaaa", "bbbb", "cccc"} {
		put(t, q, r)
	}
	for range 2 {
		list, err := q.Peek(8)
		if err != nil || len(list) != 2 || string(list[0].Data) != "aaaa" || list[0].Count != 4 {
			t.Fatalf("peek: %v %v", list, err)
		}
	}
	if list, err := q.Peek(1); err != nil || len(list) != 1 {
		t.Errorf("a record that is larger: %v %v", list, err)
	}
	if err := q.Drop(1); err != nil {
		t.Fatal(err)
	}
	if got := take(t, q); !slices.Equal(got, []string{"bbbb", "cccc"}) {
		t.Errorf("after a drop: %q", got)
	}
}

func TestRecordsOutliveTheProcess(t *testing.T) {
	dir := t.TempDir()
	want := numbered(500)
	q, err := spool.Open(spool.Options{Dir: dir, MaxBytes: 1 << 20, Sync: noSync})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range want {
		put(t, q, r)
	}
	before := q.Stats()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, spool.Options{Dir: dir, MaxBytes: 1 << 20})
	if after := q.Stats(); after.Records != before.Records || after.Count != before.Count || after.Bytes != before.Bytes || !after.Oldest.Equal(before.Oldest) {
		t.Errorf("stats before %+v, after %+v", before, after)
	}
	put(t, q, "new")
	if got := take(t, q); !slices.Equal(got, append(want, "new")) {
		t.Errorf("got %d records, want %d", len(got), len(want)+1)
	}
}

func TestFullIsExact(t *testing.T) {
	const most = 1 << 20
	q := open(t, spool.Options{Dir: t.TempDir(), MaxBytes: most, Sync: noSync})
	data, n := make([]byte, 1000), 0
	for {
		err := q.Put(data, 1)
		if errors.Is(err, spool.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != most/1020 {
		t.Errorf("%d records of 1020 bytes fit %d bytes, want %d", n, most, most/1020)
	}
	if s := q.Stats(); s.Bytes > most || s.Records != int64(n) {
		t.Errorf("stats: %+v", s)
	}
	for range 2 { // It is refused as often as it comes, and counted by whoever asks.
		if err := q.Put(data, 1); !errors.Is(err, spool.ErrFull) {
			t.Errorf("want ErrFull, got %v", err)
		}
	}
	list, err := q.Peek(200 << 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Drop(len(list)); err != nil {
		t.Fatal(err)
	}
	if err := q.Put(data, 1); err != nil {
		t.Errorf("after room was made: %v", err)
	}
}

func TestTheFolderHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	open(t, spool.Options{Dir: dir})
	if _, err := spool.Open(spool.Options{Dir: dir}); !errors.Is(err, spool.ErrLocked) {
		t.Errorf("want ErrLocked, got %v", err)
	}
}

// files are those with records.
func files(t *testing.T, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*.spool"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestEveryCut cuts the newest file off at every byte, as a kill does, and
// expects the records that were whole.
func TestEveryCut(t *testing.T) {
	dir := t.TempDir()
	q, err := spool.Open(spool.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"first", "", "third record"}
	ends := []int{}
	size := 0
	for _, r := range want {
		put(t, q, r)
		size += 20 + len(r)
		ends = append(ends, size)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(files(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		cut := t.TempDir()
		if err := os.WriteFile(filepath.Join(cut, filepath.Base(files(t, dir)[0])), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		q, err := spool.Open(spool.Options{Dir: cut, Sync: noSync})
		if err != nil {
			t.Fatal(err)
		}
		there := 0
		for there < len(ends) && ends[there] <= n {
			there++
		}
		if s := q.Stats(); s.Damaged != 0 || s.Records != int64(there) {
			t.Errorf("cut at %d: %+v, want %d records and none damaged", n, s, there)
		}
		put(t, q, "new")
		if got := take(t, q); !slices.Equal(got, append(slices.Clone(want[:there]), "new")) {
			t.Errorf("cut at %d: %q", n, got)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamage flips bits in a middle record and expects the others, and that it
// is told.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	q, err := spool.Open(spool.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []string{"one", "two", "three"} {
		put(t, q, r)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	name := files(t, dir)[0]
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(whole, []byte("two"))
	for bit := range 24 {
		b := slices.Clone(whole)
		b[at+bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		q, err := spool.Open(spool.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		list, err := q.Peek(1 << 10)
		if err != nil || len(list) != 2 || string(list[0].Data) != "one" || string(list[1].Data) != "three" {
			t.Errorf("bit %d: %v %v", bit, list, err)
		}
		if s := q.Stats(); s.Damaged != 1 || s.Records != 2 {
			t.Errorf("bit %d: %+v", bit, s)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnything gives the reader files of noise: none may do it harm.
func TestAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		dir := t.TempDir()
		noise := make([]byte, r.IntN(400))
		for i := range noise {
			if noise[i] = byte(r.Uint32()); r.IntN(3) > 0 {
				noise[i] = 0
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "0000000000000000.spool"), noise, 0o600); err != nil {
			t.Fatal(err)
		}
		q, err := spool.Open(spool.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		put(t, q, "real")
		if got := take(t, q); !slices.Contains(got, "real") {
			t.Errorf("after noise: %q", got)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFailedSyncIsFinal has a sync fail: the record is refused, the file is
// written no more, and what was synced before stays.
func TestFailedSyncIsFinal(t *testing.T) {
	dir, fail := t.TempDir(), false
	broken := errors.New("input/output error")
	synced := map[string]int{}
	q, err := spool.Open(spool.Options{Dir: dir, Sync: func(f *os.File) error {
		if fail {
			return broken
		}
		synced[f.Name()]++
		return f.Sync()
	}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, q, "kept")
	first := files(t, dir)[0]
	fail = true
	for range 3 {
		if err := q.Put([]byte("lost"), 1); !errors.Is(err, broken) {
			t.Fatalf("want the error of the sync, got %v", err)
		}
	}
	fail = false
	put(t, q, "later")
	if synced[first] != 1 {
		t.Errorf("the file whose sync failed was synced %d times", synced[first])
	}
	if s := q.Stats(); s.Records != 2 {
		t.Errorf("stats: %+v", s)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, spool.Options{Dir: dir})
	if got := take(t, q); !slices.Equal(got, []string{"kept", "later"}) {
		t.Errorf("got %q", got)
	}
}

const childEnv = "CARLA_RL_SPOOL_CHILD"

// TestMain is also the process that TestKill kills: it puts numbers and prints
// each when it is durable.
func TestMain(m *testing.M) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	q, err := spool.Open(spool.Options{Dir: dir, MaxBytes: 1 << 20})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		if err := q.Put([]byte(strconv.Itoa(i)), 1); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

// TestKill kills a process that fills a spool, at any time: every record that it
// had said to be there is.
func TestKill(t *testing.T) {
	for round := range 10 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		var said bytes.Buffer
		cmd.Stdout = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(50+rand.IntN(100)) * time.Millisecond) // when it is killed, not what is waited for
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		lines := strings.Split(strings.TrimSuffix(said.String(), "\n"), "\n")
		acknowledged := len(lines)
		if said.Len() == 0 {
			acknowledged = 0
		}
		q, err := spool.Open(spool.Options{Dir: dir, MaxBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		got := take(t, q)
		for i, r := range got {
			if r != strconv.Itoa(i) {
				t.Fatalf("round %d: record %d is %q", round, i, r)
			}
		}
		if len(got) < acknowledged || q.Stats().Damaged > 0 {
			t.Errorf("round %d: %d records of %d that were acknowledged, %+v", round, len(got), acknowledged, q.Stats())
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
