package machine

import (
	"slices"
	"testing"
)

// Only what cannot be written, and is of the program itself, is given back.
func TestProgramMapping(t *testing.T) {
	f := func(line string, want bool) {
		t.Helper()
		m, ok := programMapping(line+"\n", "/usr/bin/carla rl")
		if ok != want || ok && m != (mapping{0x400000, 0x1005000}) {
			t.Errorf("%q: %x, %v, want %v", line, m, ok, want)
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

// A page that is not as in the file keeps its mapping from being given back, and
// so does a system that does not say.
func TestProgramMappings(t *testing.T) {
	const text = `00400000-00500000 r-xp 00000000 fe:00 42 /bin/carla-rl
Size:               1024 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me sd
00500000-00600000 r--p 00100000 fe:00 42 /bin/carla-rl
Anonymous:             4 kB
Swap:                  0 kB
00600000-00700000 r--p 00200000 fe:00 42 /bin/carla-rl
Anonymous:             0 kB
Swap:                  8 kB
00700000-00800000 r--p 00300000 fe:00 42 /bin/carla-rl
Rss:                   4 kB
00800000-00900000 rw-p 00400000 fe:00 42 /bin/carla-rl
Anonymous:             0 kB
Swap:                  0 kB
00900000-00a00000 r-xp 00000000 fe:00 43 /lib/ld.so
Anonymous:             0 kB
Swap:                  0 kB
00a00000-00b00000 r--p 00500000 fe:00 42 /bin/carla-rl
Anonymous:             0 kB
Swap:                  0 kB
`
	want := []mapping{{0x400000, 0x500000}, {0xa00000, 0xb00000}}
	if got := programMappings(text, "/bin/carla-rl"); !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}
