package experience_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/carla-rl/carla-rl-serving/internal/experience"
)

// TestWriterGivesWay: what nobody waits for is written on a thread of less
// priority, until half of the buffer is full or a client waits for an outcome; in
// mode durable never.
func TestWriterGivesWay(t *testing.T) {
	own := priority(t, os.Getpid())
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, 20-own); err != nil || own == 1 {
		t.Skip("the system does not let a thread be lowered:", err)
	}
	p := driving(t, "")
	for _, mode := range []experience.Mode{experience.Buffered, experience.Durable} {
		lowered, release := make(chan bool), make(chan struct{})
		file := open(t, filepath.Join(t.TempDir(), "e.db"), experience.Options{Run: "run"})
		r, s := record(t, &scripted{file, func(*experience.Batch) error {
			lowered <- priority(t, 0) < own
			<-release
			return nil
		}}, experience.RecorderOptions{Run: "run", Mode: mode, Buffer: 64 << 10, Flush: time.Millisecond, CommitTimeout: generous})
		act := func() {
			req := request(p, 1, 1)
			req.Origin.Reset([]byte("id"), time.Now())
			if err := s.Act(t.Context(), p, req); err != nil {
				t.Error(err)
			}
		}
		// wrote looks at the next write and lets it end.
		wrote := func(want bool, when string) {
			t.Helper()
			select {
			case got := <-lowered:
				if got != want {
					t.Errorf("%s, %s: lowered is %v, want %v", mode, when, got, want)
				}
			case <-time.After(generous):
				t.Fatalf("%s, %s: nothing was written", mode, when)
			}
			release <- struct{}{}
		}
		go act()
		wrote(mode == experience.Buffered, "one step")
		until(t, "it is written", func() bool { return r.Stats().Queued == 0 })
		if mode == experience.Durable {
			continue
		}
		act()
		if got := <-lowered; !got {
			t.Error("a second step: not lowered")
		}
		for r.Stats().BufferUsed < r.Stats().BufferBytes*3/4 {
			act()
		}
		release <- struct{}{}
		wrote(false, "a buffer that is three quarters full")
		until(t, "it is written", func() bool { return r.Stats().Queued == 0 })
		told := make(chan error, 1)
		go func() { told <- r.Outcome(t.Context(), experience.Outcome{Session: "s"}) }()
		wrote(false, "an outcome")
		if err := <-told; err != nil {
			t.Error(err)
		}
		act()
		wrote(true, "one more step")
		until(t, "it is written", func() bool { return r.Stats().Queued == 0 })
	}
}

// priority is that of a process or thread as the system counts, from 40 down to 1.
func priority(t *testing.T, id int) int {
	t.Helper()
	n, err := unix.Getpriority(unix.PRIO_PROCESS, id)
	if err != nil {
		t.Error(err)
	}
	return n
}
