package machine

import "testing"

// Only what cannot be written, and is of the program itself, is given back.
func TestProgramMapping(t *testing.T) {
	f := func(line string, want bool) {
		t.Helper()
		from, to, ok := programMapping(line+"\n", "/usr/bin/carla rl")
		if ok != want || ok && (from != 0x400000 || to != 0x1005000) {
			t.Errorf("%q: %x to %x, %v, want %v", line, from, to, ok, want)
		}
	}
	f("00400000-01005000 r-xp 00000000 fe:00 9988484    /usr/bin/carla rl", true)
	f("00400000-01005000 r--p 00000000 fe:00 9988484    /usr/bin/carla rl", true)
	f("00400000-01005000 rw-p 00000000 fe:00 9988484    /usr/bin/carla rl", false)
	f("00400000-01005000 r--s 00000000 fe:00 9988484    /usr/bin/carla rl", false)
	f("00400000-01005000 r-xp 00000000 fe:00 9988484    /usr/bin/other", false)
	f("00400000-01005000 r-xp 00000000 00:00 0", false)
	f("00400000-01005000 r-xp 00000000 00:00 0          [vdso]", false)
	f("01005000-00400000 r-xp 00000000 fe:00 9988484    /usr/bin/carla rl", false)
	f("x-y r-xp 00000000 fe:00 9988484    /usr/bin/carla rl", false)
	f("", false)
}
