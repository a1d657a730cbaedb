package torch_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
)

func openZip(t *testing.T, b []byte) *torch.Zip {
	t.Helper()
	z, err := torch.OpenZip(b, torch.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestZip(t *testing.T) {
	long := []byte(strings.Repeat("code ", 100))
	a := build(
		member{name: "m/data.pkl", data: []byte("N."), later: true},
		member{name: "m/code/", data: nil},
		member{name: "m/code/a.py", data: long, deflate: true, later: true},
		member{name: "m/b.py", data: long, deflate: true},
		member{name: "m/empty", data: nil},
	)
	z := openZip(t, a.b)
	if want := []string{"m/data.pkl", "m/code/a.py", "m/b.py", "m/empty"}; !slices.Equal(z.Names(), want) {
		t.Errorf("names %q, want %q", z.Names(), want)
	}
	if z.Prefix() != "m" {
		t.Errorf("prefix %q", z.Prefix())
	}
	f := func(name string, want []byte) {
		t.Helper()
		b, err := z.Read(name)
		if err != nil || string(b) != string(want) || z.Size(name) != len(want) || !z.Has(name) {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	f("m/data.pkl", []byte("N."))
	f("m/code/a.py", long)
	f("m/b.py", long)
	f("m/empty", nil)
	if b, err := z.Record("data.pkl"); err != nil || string(b) != "N." || !z.HasRecord("data.pkl") || z.HasRecord("x") {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := z.Read("data.pkl"); err == nil || z.Size("data.pkl") != 0 {
		t.Error("a member without its folder")
	}
}

func TestZipPrefix(t *testing.T) {
	f := func(want string, names ...string) {
		t.Helper()
		var members []member
		for _, n := range names {
			members = append(members, member{name: n})
		}
		z := openZip(t, build(members...).b)
		if z.Prefix() != want {
			t.Errorf("%q: prefix %q, want %q", names, z.Prefix(), want)
		}
	}
	f("")
	f("", "data", "policy.pth")
	f("", "a/x", "b/x")
	f("", "a/x", "x")
	f("a", "a/x", "a/b/x")
	z := openZip(t, build(member{name: "data", data: []byte("{}")}).b)
	if b, err := z.Record("data"); err != nil || string(b) != "{}" {
		t.Errorf("%q, %v", b, err)
	}
}

// withEnd64 puts a 64-bit end of directory before the 32-bit one.
func withEnd64(a *archive, edit func(end64, locator []byte)) {
	n, size := uint64(len(a.central)), uint64(a.end-a.dir)
	e := append([]byte("PK\x06\x06"), le.AppendUint64(nil, 44)...)
	e = append(e, make([]byte, 12)...)
	for _, v := range []uint64{n, n, size, uint64(a.dir)} {
		e = le.AppendUint64(e, v)
	}
	l := le.AppendUint64([]byte("PK\x06\x07\x00\x00\x00\x00"), uint64(a.end))
	l = append(l, 1, 0, 0, 0)
	edit(e, l)
	a.insert(a.end, string(e)+string(l))
	a.end += len(e) + len(l)
}

// wideEntry gives the only member sizes of 64 bits: in its own header, in the
// directory and behind its data, as Python does with force_zip64.
func wideEntry() *archive {
	data := []byte("contents")
	a := build(member{name: "data", data: data})
	field := append([]byte{1, 0, 16, 0}, le.AppendUint64(le.AppendUint64(nil, 8), 8)...)
	a.put16(a.central[0]+30, 20)
	a.put32(a.central[0]+20, 0xffffffff)
	a.put32(a.central[0]+24, 0xffffffff)
	a.insert(a.central[0]+46+4, string(field))
	a.put16(a.local[0]+28, 20)
	a.put32(a.local[0]+18, 0xffffffff)
	a.put32(a.local[0]+22, 0xffffffff)
	a.insert(a.local[0]+30+4, string(field))
	a.dir += 20
	a.end += 40
	a.central[0] += 20
	a.put32(a.end+12, uint32(a.end-a.dir))
	a.put32(a.end+16, uint32(a.dir))
	return a
}

func TestZip64(t *testing.T) {
	a := build(member{name: "data", data: []byte("contents")})
	withEnd64(a, func(_, _ []byte) {})
	z := openZip(t, a.b)
	if b, err := z.Read("data"); err != nil || string(b) != "contents" {
		t.Errorf("%q, %v", b, err)
	}
	// The 32-bit fields may give their values away.
	a.put16(a.end+8, 0xffff)
	a.put16(a.end+10, 0xffff)
	a.put32(a.end+12, 0xffffffff)
	a.put32(a.end+16, 0xffffffff)
	openZip(t, a.b)

	z = openZip(t, wideEntry().b)
	if b, err := z.Read("data"); err != nil || string(b) != "contents" {
		t.Errorf("%q, %v", b, err)
	}
}

// Sizes behind the data come in four forms.
func TestZipDescriptors(t *testing.T) {
	f := func(descriptor string, wide, want bool) {
		t.Helper()
		a := build(member{name: "data", data: []byte("contents")})
		if wide {
			a = wideEntry()
		}
		at := a.dir
		a.insert(at, descriptor)
		a.dir, a.end, a.central[0] = a.dir+len(descriptor), a.end+len(descriptor), a.central[0]+len(descriptor)
		a.put32(a.end+16, uint32(a.dir))
		a.put16(a.local[0]+6, 0x808)
		a.put16(a.central[0]+8, 0x808)
		if _, err := torch.OpenZip(a.b, torch.Limits{}); (err == nil) != want {
			t.Errorf("%q: %v", descriptor, err)
		}
	}
	crc := string(build(member{name: "data", data: []byte("contents")}).b[14:18])
	short := crc + "\x08\x00\x00\x00\x08\x00\x00\x00"
	wide := crc + "\x08\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00"
	f(short, false, true)
	f("PK\x07\x08"+short, false, true)
	f(wide, true, true)
	f("PK\x07\x08"+wide, true, true)
	f(wide, false, false)
	f("PK\x07\x09"+short, false, false)
	f("", false, false)
	f("abc", false, false)
	f("\x00\x00\x00\x00"+short[4:], false, false)
	f(crc+"\x08\x00\x00\x00\x09\x00\x00\x00", false, false)
}

// hostileZips are archives that must be refused, each a small change of one
// that opens.
var hostileZips = []struct {
	name, want string
	make       func() *archive
}{
	{"nothing", "not a zip", func() *archive { return &archive{} }},
	{"no zip", "not a zip", func() *archive { return &archive{b: make([]byte, 100)} }},
	{"cut off", "cut off or followed by other bytes", change(func(a *archive) { a.b = a.b[:a.dir+10] })},
	{"bytes behind", "cut off or followed by other bytes", change(func(a *archive) { a.b = append(a.b, "tail"...) })},
	{"comment", "a comment that is not there", change(func(a *archive) { a.put16(a.end+20, 7) })},
	{"bytes before", "not a zip", change(func(a *archive) { a.insert(0, "#!/bin/sh\n") })},
	{"bytes before, as a member", "the member begins at 0x29 and the one before it ends at 0x0", func() *archive {
		a := two()
		first := string(a.b[a.local[0]:a.local[1]])
		a.insert(0, first)
		for i := range 2 {
			a.put32(a.central[i]+len(first)+42, uint32(a.local[i]+len(first)))
		}
		a.put32(a.end+len(first)+16, uint32(a.dir+len(first)))
		return a
	}},
	{"several disks", "several disks", change(func(a *archive) { a.put16(a.end+4, 1) })},
	{"several disks of entries", "several disks", change(func(a *archive) { a.put16(a.end+8, 1) })},
	{"entry on another disk", "several disks", change(func(a *archive) { a.put16(a.central[0]+34, 1) })},
	{"directory beyond the end", "does not end where the archive does", change(func(a *archive) { a.put32(a.end+16, 1<<30) })},
	{"directory too short", "does not end where the archive does", change(func(a *archive) { a.put32(a.end+12, 10) })},
	{"more entries than bytes", "limit exceeded", change(func(a *archive) { a.put16(a.end+8, 9000); a.put16(a.end+10, 9000) })},
	{"fewer entries than there are", "bytes more than its 1 entries", change(func(a *archive) { a.put16(a.end+8, 1); a.put16(a.end+10, 1) })},
	{"no entry", "no directory entry", change(func(a *archive) { a.b[a.central[1]] = 'X' })},
	{"name beyond the directory", "runs out of the directory", change(func(a *archive) { a.put16(a.central[1]+28, 200) })},
	{"extra beyond the directory", "runs out of the directory", change(func(a *archive) { a.put16(a.central[1]+30, 200) })},
	{"comment beyond the directory", "runs out of the directory", change(func(a *archive) { a.put16(a.central[1]+32, 200) })},

	{"encrypted", "m/b: at byte 0x", change(func(a *archive) { a.flags(1, 0x801) })},
	{"strong encryption", "encrypted", change(func(a *archive) { a.flags(0, 0x840) })},
	{"masked headers", "encrypted", change(func(a *archive) { a.flags(0, 0x2800) })},
	{"patch data", "unknown flags", change(func(a *archive) { a.flags(0, 0x820) })},
	{"encrypted only in the directory", "encrypted", change(func(a *archive) { a.put16(a.central[0]+8, 0x801) })},
	{"encrypted only in its header", "differs from the directory", change(func(a *archive) { a.put16(a.local[0]+6, 0x801) })},
	{"bzip2", "compression method 12", change(func(a *archive) { a.put16(a.central[0]+10, 12); a.put16(a.local[0]+8, 12) })},
	{"other method in its header", "differs from the directory", change(func(a *archive) { a.put16(a.local[0]+8, 8) })},
	{"other name in its header", "differs from the directory", change(func(a *archive) { a.b[a.local[0]+30+2] = 'x' })},
	{"other checksum in its header", "differ from the directory", change(func(a *archive) { a.put32(a.local[0]+14, 1) })},
	{"other size in its header", "differ from the directory", change(func(a *archive) { a.put32(a.local[0]+22, 1) })},
	{"stored with two sizes", "a stored member of 8 bytes has size 9", change(func(a *archive) { a.put32(a.central[0]+24, 9); a.put32(a.local[0]+22, 9) })},
	{"no header", "no header where the directory says one is", change(func(a *archive) { a.b[a.local[1]] = 'X' })},
	{"header into the next member", "runs into the next member", change(func(a *archive) { a.put16(a.local[0]+28, 500) })},
	{"into the next member", "runs into the next one", change(func(a *archive) { a.sizes(0, 500) })},
	{"into the directory", "runs into the next one", change(func(a *archive) { a.sizes(1, 500) })},
	{"short of the next member", "bytes behind the member", change(func(a *archive) { a.sizes(0, 7) })},
	{"overlap", "no header where the directory says one is", change(func(a *archive) { a.put32(a.central[1]+42, uint32(a.local[0])) })},
	{"overlap, quoted", "the member runs into the next one", change(func(a *archive) { a.put32(a.central[1]+42, uint32(a.local[1]-1)) })},
	{"in the directory", "runs into the directory", change(func(a *archive) { a.put32(a.central[1]+42, uint32(a.dir)+1) })},
	{"beyond the end", "runs into the directory", change(func(a *archive) { a.put32(a.central[1]+42, 1<<31) })},
	{"bytes before the directory", "belong to no member", func() *archive {
		a := build()
		a.insert(0, "PK\x03\x04 and more")
		a.put32(len(a.b)-6, uint32(len(a.b)-22))
		return a
	}},
	{"gap", "bytes behind the member that belong to none", func() *archive {
		a := two()
		a.insert(a.local[1], "gap")
		a.put32(a.central[1]+3+42, uint32(a.local[1]+3))
		a.put32(a.end+3+16, uint32(a.dir+3))
		return a
	}},

	{"same name twice", "two members of this name", named("m/a", "m/a")},
	{"parent folder", "a path out of the archive", named("m/a", "../../tmp/pwned-zip")},
	{"parent folder inside", "a path out of the archive", named("m/../../a", "m/b")},
	{"this folder", "a path out of the archive", named("m/./a", "m/b")},
	{"absolute", "a path out of the archive", named("/etc/passwd", "m/b")},
	{"two slashes", "a path out of the archive", named("m//a", "m/b")},
	{"backslash", "a character that no archive needs", named(`m\..\a`, "m/b")},
	{"zero byte", "a character that no archive needs", named("m/a\x00.pkl", "m/b")},
	{"not UTF-8", "no UTF-8 text", named("m/\xff", "m/b")},
	{"no name", "no UTF-8 text", named("", "m/b")},
	{"long name", "no UTF-8 text of 1 to 1024", named(strings.Repeat("n", 2000), "m/b")},
	{"folder with contents", "a folder with contents", named("m/a/", "m/b")},
	{"name of a code page", "not marked as UTF-8", func() *archive {
		a := named("m/\u00e9", "m/b")()
		a.flags(0, 0)
		return a
	}},
	{"other name in an extra field", "an extra field gives the member another name", func() *archive {
		a := two()
		extra := "\x75\x70\x08\x00\x01\x00\x00\x00\x00m/c"
		a.insert(a.end, extra)
		a.put16(a.central[1]+30, uint16(len(extra)))
		a.put32(a.end+len(extra)+12, uint32(a.end-a.dir+len(extra)))
		return a
	}},

	{"bomb", "10000000, more than 100 to one", func() *archive {
		return build(member{name: "data", data: make([]byte, 10_000_000), deflate: true})
	}},
	{"bombs below the ratio", "inflate to more than 50331648 bytes", func() *archive {
		var members []member
		for i := range 20 {
			members = append(members, member{name: fmt.Sprint(i), data: []byte("x"), deflate: true})
		}
		a := build(members...)
		for i := range members {
			a.put32(a.central[i]+24, 3<<20)
			a.put32(a.central[i]+20, 1<<20)
		}
		return a
	}},

	{"no 64-bit end", "no 64-bit end of directory", end64(func(_, l []byte) { l[8]++ })},
	{"64-bit end elsewhere", "no 64-bit end of directory", end64(func(e, _ []byte) { e[0] = 'X' })},
	{"64-bit end on another disk", "several disks", end64(func(_, l []byte) { l[4] = 1 })},
	{"64-bit ends of several disks", "several disks", end64(func(_, l []byte) { l[16] = 2 })},
	{"64-bit end with an extension", "with extensions", end64(func(e, _ []byte) { e[4]++ })},
	{"64-bit count", "the two ends of the directory differ", end64(func(e, _ []byte) { e[32]++ })},
	{"64-bit offset", "the two ends of the directory differ", end64(func(e, _ []byte) { e[48]++ })},
	{"64-bit size", "the two ends of the directory differ", end64(func(e, _ []byte) { e[40]++ })},
	{"64-bit count of this disk", "the two ends of the directory differ", end64(func(e, _ []byte) { e[24]++ })},
	{"64-bit field too short", "too short", func() *archive {
		a := wideEntry()
		a.put16(a.central[0]+46+4+2, 8)
		a.b[a.central[0]+46+4+12] = 9
		return a
	}},
	{"64-bit field twice", "two zip64 fields", func() *archive {
		a := two()
		extra := "\x01\x00\x00\x00\x01\x00\x00\x00"
		a.insert(a.end, extra)
		a.put16(a.central[1]+30, 8)
		a.put32(a.end+8+12, uint32(a.end-a.dir+8))
		return a
	}},
	{"extra field beyond the header", "runs out of its header", func() *archive {
		a := wideEntry()
		a.put16(a.local[0]+30+4+2, 300)
		return a
	}},
	{"extra field beyond the entry", "runs out of its header", func() *archive {
		a := wideEntry()
		a.put16(a.central[0]+46+4+2, 300)
		return a
	}},
}

// two is the archive of which most hostile ones are changes.
func two() *archive {
	return build(member{name: "m/a", data: []byte("contents")}, member{name: "m/b", data: []byte("contents")})
}

func change(edit func(a *archive)) func() *archive {
	return func() *archive {
		a := two()
		edit(a)
		return a
	}
}

func named(a, b string) func() *archive {
	return func() *archive {
		return build(member{name: a, data: []byte("contents")}, member{name: b, data: []byte("contents")})
	}
}

func end64(edit func(end64, locator []byte)) func() *archive {
	return func() *archive {
		a := two()
		withEnd64(a, edit)
		return a
	}
}

func (a *archive) flags(i int, v uint16) {
	a.put16(a.central[i]+8, v)
	a.put16(a.local[i]+6, v)
}

func (a *archive) sizes(i int, v uint32) {
	for _, at := range []int{a.central[i] + 20, a.central[i] + 24, a.local[i] + 18, a.local[i] + 22} {
		a.put32(at, v)
	}
}

func TestZipHostile(t *testing.T) {
	openZip(t, two().b)
	for _, c := range hostileZips {
		t.Run(c.name, func(t *testing.T) {
			b := c.make().b
			guarded(t, func() error {
				_, err := torch.OpenZip(b, torch.Limits{})
				return refused(err, c.want)
			})
		})
	}
}

func TestZipReadHostile(t *testing.T) {
	f := func(name, want string, a *archive) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			z, err := torch.OpenZip(a.b, torch.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			guarded(t, func() error {
				_, err := z.Read("data")
				return refused(err, want)
			})
		})
	}
	squeezed := func() *archive {
		return build(member{name: "data", data: []byte(strings.Repeat("contents ", 10)), deflate: true})
	}
	a := build(member{name: "data", data: []byte("contents")})
	a.b[a.body[0]]++
	f("changed contents", "checksum is", a)
	a = squeezed()
	a.b[a.body[0]] = 0xff
	f("no deflate stream", "inflate: ", a)
	a = squeezed()
	a.put32(a.central[0]+24, 91)
	a.put32(a.local[0]+22, 91)
	f("fewer bytes than announced", "inflate: unexpected EOF", a)
	a = squeezed()
	a.put32(a.central[0]+24, 89)
	a.put32(a.local[0]+22, 89)
	f("more bytes than announced", "more than the 89 bytes", a)
	a = squeezed()
	a.insert(a.dir, "XX")
	a.dir, a.end, a.central[0] = a.dir+2, a.end+2, a.central[0]+2
	size := le.Uint32(a.b[a.central[0]+20:]) + 2
	a.put32(a.central[0]+20, size)
	a.put32(a.local[0]+18, size)
	a.put32(a.end+16, uint32(a.dir))
	f("bytes behind the stream", "2 bytes after the end of the data", a)
}

func TestZipLimits(t *testing.T) {
	f := func(l torch.Limits, want bool) {
		t.Helper()
		a := build(member{name: "a", data: make([]byte, 1<<17), deflate: true}, member{name: "b"})
		_, err := torch.OpenZip(a.b, l)
		if (err == nil) != want || err != nil && !errors.Is(err, torch.ErrLimit) {
			t.Errorf("%+v: %v", l, err)
		}
	}
	f(torch.Limits{MaxRatio: 2000}, true)
	f(torch.Limits{}, false)
	f(torch.Limits{MaxRatio: 2000, MaxEntries: 1}, false)
	f(torch.Limits{MaxRatio: 2000, MaxInflated: 1 << 16}, false)
}

func TestIsZip(t *testing.T) {
	f := func(in string, want bool) {
		t.Helper()
		if got := torch.IsZip([]byte(in)); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
	f("", false)
	f("PK\x03", false)
	f("PK\x03\x04", true)
	f("PK\x05\x06", true)
	f("\x80\x02}.", false)
	if _, err := torch.OpenZip([]byte("GIF"), torch.Limits{}); !errors.Is(err, torch.ErrNotZip) {
		t.Errorf("got %v", err)
	}
}
