package machine_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/carla-rl/carla-rl-serving/internal/machine"
)

// What is handed out is locked as the system counts it, and no more once it is
// given back.
func TestLockedMemoryIsLocked(t *testing.T) {
	l := machine.NewLocked(func(e *machine.LockError) { t.Errorf("%v", e) })
	before := statusKiB(t, "VmLck")
	data, free := l.Alloc(100_000)
	if len(data) != 100_000 || l.Bytes() != 102_400 {
		t.Fatalf("%d bytes, of which %d are counted", len(data), l.Bytes())
	}
	for i, b := range data {
		if b != 0 {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
	if got := statusKiB(t, "VmLck") - before; got != 100 {
		t.Errorf("%d KiB are locked, want 100", got)
	}
	data[99_999] = 1
	free()
	if got := statusKiB(t, "VmLck"); got != before || l.Bytes() != 0 {
		t.Errorf("%d KiB are locked and %d bytes counted, before it was %d KiB", got, l.Bytes(), before)
	}
}

// Where the limit forbids it nothing is handed out, and the first time is told
// of with the limit.
func TestLockedMemoryBeyondTheLimit(t *testing.T) {
	withoutPrivilege(t)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 64 << 10, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &old); err != nil {
			t.Error(err)
		}
	})
	if machine.LockLimit() != 64<<10 {
		t.Errorf("the limit is %d", machine.LockLimit())
	}
	var told []*machine.LockError
	l := machine.NewLocked(func(e *machine.LockError) { told = append(told, e) })
	small, free := l.Alloc(4096)
	if small == nil {
		t.Fatalf("a page is not locked: %v", told)
	}
	defer free()
	for range 2 {
		if data, free := l.Alloc(1 << 20); data != nil || free != nil {
			t.Fatal("a MiB was locked beyond the limit")
		}
	}
	if l.Failures() != 2 || len(told) != 1 || l.Bytes() != 4096 {
		t.Fatalf("%d failures, told of %d, %d bytes", l.Failures(), len(told), l.Bytes())
	}
	e := told[0]
	if e.Need != 1<<20 || e.Locked != 4096 || e.Limit != 64<<10 || !errors.Is(e, unix.ENOMEM) && !errors.Is(e, unix.EAGAIN) {
		t.Errorf("%+v", e)
	}
	for _, want := range []string{"1024 KiB cannot be locked: mlock: ", "the process may lock 64 KiB (RLIMIT_MEMLOCK) and has locked 4 KiB"} {
		if !strings.Contains(e.Error(), want) {
			t.Errorf("%q does not say %q", e.Error(), want)
		}
	}
	if !strings.Contains(e.Hint(), "LimitMEMLOCK") {
		t.Error(e.Hint())
	}
}

// withoutPrivilege takes from the test, on a thread of its own, the right to lock
// beyond the limit.
func withoutPrivilege(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // It ends with the test's goroutine.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
	sets[0].Effective &^= 1 << unix.CAP_IPC_LOCK
	if err := unix.Capset(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
}
