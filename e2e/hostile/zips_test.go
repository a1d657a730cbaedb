//go:build e2e

package hostile_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
	"github.com/carla-rl/carla-rl-serving/internal/format/torch"
)

// What the refusal of one archive may take beyond its own bytes.
const (
	zipTime   = 100 * time.Millisecond
	zipMemory = 32 << 20
)

// attack makes a sound archive a hostile one. It may make it anew.
type attack struct {
	name string
	make func(r *rand.Rand, a *archive)
}

// both changes the headers of a member in both places.
func both(e *entry, change func(h *header)) { change(&e.local); change(&e.central) }

func some(r *rand.Rand, a *archive) *entry { return a.entries[r.IntN(len(a.entries))] }

// other changes a number into another one.
func other(r *rand.Rand, v uint32) uint32 {
	switch r.IntN(4) {
	case 0:
		return v + 1 + uint32(r.IntN(64))
	case 1:
		return v ^ 1<<r.IntN(32)
	case 2:
		return v - 1
	}
	for {
		if w := r.Uint32(); w != v {
			return w
		}
	}
}

func rename(names ...string) func(r *rand.Rand, a *archive) {
	return func(r *rand.Rand, a *archive) {
		name := names[r.IntN(len(names))]
		both(some(r, a), func(h *header) { h.name = strings.ReplaceAll(name, "%", h.name) })
	}
}

var attacks = []attack{
	{"slip", rename("../%", "../../../../tmp/pwned-zip", "a/../../%", "%/..", "m/./%", "./%", "..", "m//%", "%/../x")},
	{"absolute", rename("/%", "/etc/passwd", "//server/%", "/tmp/pwned-zip")},
	{"backslash", rename(`..\%`, `m\%`, `C:\Windows\%`, `\\server\%`, `%\`)},
	{"odd names", rename("", "m/\x00%", "%\x00", "m/\xff%", "\xc3(", strings.Repeat("n", 1025), strings.Repeat("d/", 30_000)+"%")},
	{"twice", func(r *rand.Rand, a *archive) {
		e := some(r, a)
		data := []byte("another one")
		if r.IntN(2) == 0 {
			data = e.data
		}
		a.add(e.central.name, data, stored, r.IntN(2) == 0)
		r.Shuffle(len(a.entries), func(i, j int) { a.entries[i], a.entries[j] = a.entries[j], a.entries[i] })
	}},
	{"listed twice", func(r *rand.Rand, a *archive) { // one member, two entries of the directory
		a.listed = append(append(a.listed, a.entries...), some(r, a))
	}},
	{"not listed", func(r *rand.Rand, a *archive) {
		i := r.IntN(len(a.entries))
		a.listed = append(append([]*entry{}, a.entries[:i]...), a.entries[i+1:]...)
	}},
	{"overlap", func(r *rand.Rand, a *archive) { // the kernel that many share
		first := some(r, a)
		for i := range 1 + r.IntN(50) {
			e := &entry{central: first.central, at: -1}
			e.central.name = fmt.Sprintf("m/%d", i)
			e.at = int64(offset(a, first))
			a.listed = append(a.listed, e)
		}
		a.listed = append(a.listed, a.entries...)
	}},
	{"quoted overlap", func(r *rand.Rand, a *archive) { // each member's data begin with the next header
		var chain []byte
		kernel := deflate(bytes.Repeat([]byte("a"), 100+r.IntN(20_000)))
		inner := &archive{}
		e := inner.add("m/kernel", bytes.Repeat([]byte("a"), 100), stored, false)
		e.body = kernel
		chain = inner.bytes()
		outer := a.add("m/outer", chain, stored, false)
		hidden := &entry{central: e.central, at: int64(offset(a, outer)) + 30 + int64(len("m/outer"))}
		a.listed = append(append(a.listed, a.entries...), hidden)
	}},
	{"quoted in extra", func(r *rand.Rand, a *archive) { // the next header lies in an extra field of this one
		e := a.add("m/quoted", []byte("contents"), stored, false)
		inner := (&archive{}).add("m/inner", []byte("contents"), stored, false)
		quoted := (&archive{entries: []*entry{inner}, listed: []*entry{}}).bytes()
		quoted = quoted[:len(quoted)-22]
		e.local.extra = append(le.AppendUint16([]byte{0x99, 0x99}, uint16(len(quoted))), quoted...)
		hidden := &entry{central: inner.central, at: int64(offset(a, e)) + 30 + int64(len("m/quoted")) + 4}
		a.listed = append(append(a.listed, a.entries...), hidden)
	}},
	{"two names", func(r *rand.Rand, a *archive) {
		h := []func(e *entry) *header{func(e *entry) *header { return &e.local }, func(e *entry) *header { return &e.central }}[r.IntN(2)](some(r, a))
		b := []byte(h.name)
		b[r.IntN(len(b))]++
		h.name = string(b)
	}},
	{"two sizes", func(r *rand.Rand, a *archive) {
		e := sized(r, a)
		h := &e.local
		if r.IntN(2) == 0 {
			h = &e.central
		}
		if r.IntN(2) == 0 {
			h.size = other(r, h.size)
		} else {
			h.packed = other(r, h.packed)
		}
	}},
	{"two flags", func(r *rand.Rand, a *archive) { some(r, a).local.flags ^= 1 << r.IntN(16) }},
	{"two methods", func(r *rand.Rand, a *archive) { e := some(r, a); e.local.method = deflated - e.local.method }},
	{"two checksums", func(r *rand.Rand, a *archive) { e := sized(r, a); e.local.crc = other(r, e.local.crc) }},
	{"bad checksum", func(r *rand.Rand, a *archive) {
		e := some(r, a)
		crc := other(r, e.central.crc)
		e.central.crc = crc
		if e.local.flags&8 == 0 {
			e.local.crc = crc
		} else {
			le.PutUint32(e.behind[4:], crc)
		}
	}},
	{"changed contents", func(r *rand.Rand, a *archive) {
		e := a.add("m/changed", []byte("some contents"), stored, false)
		e.body = append([]byte(nil), e.body...)
		e.body[r.IntN(len(e.body))] ^= 1 << r.IntN(8)
	}},
	{"flags", func(r *rand.Rand, a *archive) {
		bits := []int{0, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15}
		e := some(r, a)
		bit := uint16(1) << bits[r.IntN(len(bits))]
		both(e, func(h *header) { h.flags |= bit })
	}},
	{"method", func(r *rand.Rand, a *archive) {
		methods := []uint16{1, 5, 6, 9, 12, 14, 93, 95, 97, 98, 99, 0xffff}
		m := methods[r.IntN(len(methods))]
		both(some(r, a), func(h *header) { h.method = m })
	}},
	{"prefix", func(r *rand.Rand, a *archive) {
		prefixes := []string{"#!/bin/sh\n", "MZ\x90\x00", "%PDF-1.7\n", "\x89PNG\r\n\x1a\n", "GIF89a", "\x80\x04K\x01.", "\x7fELF", "PK00", "PK\x03\x04", "\x00"}
		a.prefix = []byte(prefixes[r.IntN(len(prefixes))] + strings.Repeat("x", r.IntN(2000)))
		if r.IntN(2) == 0 {
			a.shift = uint32(len(a.prefix))
		}
	}},
	{"suffix", func(r *rand.Rand, a *archive) {
		a.suffix = append([]byte("\x80\x04K\x01."), make([]byte, r.IntN(3000))...)
		if r.IntN(2) == 0 { // a whole archive behind it
			a.suffix = pack("data", "another")
		}
	}},
	{"comment", func(r *rand.Rand, a *archive) {
		a.comment = strings.Repeat("c", 1+r.IntN(100))
		switch r.IntN(3) {
		case 0:
			a.comment = string(pack("data", "another"))
		case 1:
			a.comment = "PK\x05\x06" + a.comment
		}
	}},
	{"gap", func(r *rand.Rand, a *archive) {
		e := some(r, a)
		junk := append([]byte("PK\x03\x04"), make([]byte, r.IntN(200))...)
		switch r.IntN(3) {
		case 0:
			e.before = junk[:1+r.IntN(len(junk))]
		case 1:
			e.behind = append(append([]byte{}, e.behind...), junk[:1+r.IntN(len(junk))]...)
		default:
			e.body = append(append([]byte{}, e.body...), junk[:1+r.IntN(len(junk))]...)
		}
	}},
	{"offset", func(r *rand.Rand, a *archive) {
		e := some(r, a)
		e.at = int64(other(r, uint32(offset(a, e))))
	}},
	{"zip64 sizes", func(r *rand.Rand, a *archive) {
		e := sized(r, a)
		lie := uint64(e.central.size) + 1 + r.Uint64N(1<<r.IntN(62))
		field := le.AppendUint64(le.AppendUint64([]byte{1, 0, 16, 0}, lie), uint64(e.central.packed))
		e.central.size, e.central.packed = 0xffffffff, 0xffffffff
		e.central.extra = field
		if r.IntN(2) == 0 {
			e.local.size, e.local.packed, e.local.extra = 0xffffffff, 0xffffffff, field
		}
	}},
	{"zip64 field", func(r *rand.Rand, a *archive) {
		e := some(r, a)
		e.central.size = 0xffffffff
		e.central.extra = [][]byte{
			{1, 0, 4, 0, 1, 2, 3, 4},
			{1, 0, 0, 0},
			{1, 0, 0xff, 0xff, 1},
			{1, 0, 8, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
			{1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0x80},
			{1, 0, 0, 0, 1, 0, 8, 0, 8, 0, 0, 0, 0, 0, 0, 0},
		}[r.IntN(6)]
	}},
	{"zip64 end", func(r *rand.Rand, a *archive) {
		a.wide = true
		at := []int{4, 16, 20, 24, 32, 40, 48}[r.IntN(7)]
		if r.IntN(3) == 0 {
			at := []int{4, 8, 16, 0}[r.IntN(4)]
			a.end64 = func(_, l []byte) { l[at] += byte(1 + r.IntN(200)); l[16] |= 2 }
			return
		}
		a.end64 = func(e, _ []byte) { e[at+r.IntN(4)] += byte(1 + r.IntN(200)) }
	}},
	{"counts", func(r *rand.Rand, a *archive) {
		at := []int{4, 6, 8, 10, 12, 16, 20}[r.IntN(7)]
		a.end = func(e []byte) { e[at+r.IntN(2)] += byte(1 + r.IntN(255)) }
	}},
	{"disk", func(r *rand.Rand, a *archive) { some(r, a).central.disk = 1 + uint16(r.IntN(0xffff)) }},
	{"sizes behind", func(r *rand.Rand, a *archive) {
		e := a.add("m/later", []byte("contents"), stored, true)
		switch r.IntN(3) {
		case 0:
			e.behind[4+r.IntN(12)]++
		case 1:
			e.behind = e.behind[:r.IntN(12)]
		default:
			e.local.size, e.local.packed = 8, 8 // both in front and behind, but no checksum
		}
	}},
	{"ratio", func(r *rand.Rand, a *archive) {
		n := 66_000 + r.IntN(200_000)
		a.add("m/bomb", bytes.Repeat([]byte{byte(r.IntN(256))}, n), deflated, r.IntN(2) == 0)
	}},
	{"lying ratio", func(r *rand.Rand, a *archive) { // says little and is much
		e := a.add("m/liar", make([]byte, 1+r.IntN(60_000)), deflated, false)
		e.body = deflate(make([]byte, 100_000+r.IntN(100_000)))
		both(e, func(h *header) { h.packed = uint32(len(e.body)) })
	}},
	{"much in all", func(r *rand.Rand, a *archive) { // each below the ratio
		for i := range 2000 {
			e := a.add(fmt.Sprintf("m/%d", i), []byte("x"), deflated, false)
			both(e, func(h *header) { h.size = 60_000 })
		}
	}},
	{"too many", func(r *rand.Rand, a *archive) {
		claim := 10_001 + r.IntN(1_000_000)
		a.wide = true
		a.end64 = func(e, _ []byte) { le.PutUint64(e[24:], uint64(claim)); le.PutUint64(e[32:], uint64(claim)) }
		a.end = func(e []byte) { copy(e[8:], "\xff\xff\xff\xff") }
	}},
	{"nested bomb", func(r *rand.Rand, a *archive) { // an archive of archives of archives
		*a = archive{}
		both(a.add(fmt.Sprintf("m/%d.zip", r.IntN(1000)), nil, deflated, false), func(h *header) { *h = nestedBomb().central })
		a.entries[0].body = nestedBomb().body
	}},
	{"broken stream", func(r *rand.Rand, a *archive) {
		e := a.add("m/stream", []byte(strings.Repeat("contents ", 30)), deflated, false)
		b := append([]byte(nil), e.body...)
		switch r.IntN(3) {
		case 0:
			b[0] = 0xff
		case 1:
			b = b[:r.IntN(len(b))]
		default:
			b = append(b, make([]byte, 1+r.IntN(9))...)
		}
		e.body = b
		both(e, func(h *header) { h.packed = uint32(len(b)) })
	}},
	{"folder with contents", func(r *rand.Rand, a *archive) { both(sized(r, a), func(h *header) { h.name += "/" }) }},
	{"other name in extra", func(r *rand.Rand, a *archive) { // the unicode path, which some readers prefer
		e := some(r, a)
		name := "m/../../evil"
		field := append([]byte{1}, le.AppendUint32(nil, crc32.ChecksumIEEE([]byte(e.central.name)))...)
		field = append(field, name...)
		field = append(le.AppendUint16([]byte{0x75, 0x70}, uint16(len(field))), field...)
		both(e, func(h *header) { h.extra = append(append([]byte{}, h.extra...), field...) })
	}},
	{"code page", func(r *rand.Rand, a *archive) { // a name that is another one in each reader
		both(some(r, a), func(h *header) { h.name = "m/\u00e9" + h.name; h.flags &^= 1 << 11 })
	}},
	{"cut off", func(r *rand.Rand, a *archive) {}}, // see zipFile
}

// nestedBomb is a member that holds an archive, in four layers, which is small in
// the file and gigabytes once all of it is unpacked.
var nestedBomb = sync.OnceValue(func() *entry {
	best, _ := flate.NewWriter(nil, flate.BestCompression) // the level is one that there is
	inner := pack("bomb", deflateBy(best, make([]byte, 4<<20)))
	for range 3 {
		layer := &archive{}
		for i := range 16 {
			layer.add(fmt.Sprintf("lib %x.zip", i), inner, deflated, false)
		}
		inner = layer.bytes()
	}
	e := (&archive{}).add("m/a.zip", bytes.Repeat(inner, 1+(8<<20)/len(inner)), stored, false)
	e.body = deflateBy(best, e.data)
	e.central.method, e.central.packed, e.data = deflated, uint32(len(e.body)), nil
	return e
})

// sized draws a member whose sizes stand in front of it.
func sized(r *rand.Rand, a *archive) *entry {
	return a.add(fmt.Sprintf("m/sized%d", r.IntN(9)), []byte("some contents of a member"), []uint16{stored, deflated}[r.IntN(2)], false)
}

// offset is where a member begins.
func offset(a *archive, want *entry) int {
	at := 0
	for _, e := range a.entries {
		at += len(e.before)
		if e == want {
			return at
		}
		at += 30 + len(e.local.name) + len(e.local.extra) + len(e.body) + len(e.behind)
	}
	panic("no such member")
}

// sound makes an archive that is one to be read.
func sound(r *rand.Rand) *archive {
	a := &archive{wide: r.IntN(8) == 0}
	if a.wide && r.IntN(2) == 0 {
		a.end = func(e []byte) { copy(e[8:], bytes.Repeat([]byte{0xff}, 12)) }
	}
	names := []string{"data", "policy.pth", "archive/data.pkl", "archive/data/0", "archive/version", "m/code/__torch__/m.py", "mean.npy", "m/b", "m/c"}
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:1+r.IntN(5)] {
		data := bytes.Repeat([]byte{byte(r.IntN(256)), byte(r.IntN(256))}, r.IntN(300))
		a.add(name, data, []uint16{stored, deflated}[r.IntN(2)], r.IntN(3) == 0)
	}
	return a
}

// zipFile makes file number n, and says of what kind it is.
func zipFile(n uint64) (kind string, file []byte, a *archive) {
	r := rand.New(rand.NewPCG(n, 6))
	a = sound(r)
	switch k := r.IntN(len(attacks) + 6); {
	case k == 0:
		return "sound", a.bytes(), a
	case k <= 5:
		b := a.bytes()
		for range 1 + r.IntN(3) {
			switch r.IntN(4) {
			case 0, 1:
				b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			case 2:
				b[r.IntN(len(b))] = byte(r.IntN(256))
			default:
				if at := r.IntN(len(b)); at+4 < len(b) {
					le.PutUint32(b[at:], r.Uint32()>>r.IntN(32))
				}
			}
		}
		return "changed bytes", b, nil
	default:
		at := attacks[k-6]
		at.make(r, a)
		b := a.bytes()
		if at.name == "cut off" {
			b = b[:r.IntN(len(b))]
		}
		return at.name, b, a
	}
}

// contents reads all members, or says why not.
func contents(file []byte) (map[string][]byte, error) {
	z, err := torch.OpenZip(file, torch.Limits{})
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for _, name := range z.Names() {
		b, err := z.Read(name)
		if err != nil {
			return nil, err
		}
		all[name] = b
	}
	return all, nil
}

func zipWorker() func(n uint64) func() result {
	nestedBomb()
	return func(n uint64) func() result {
		kind, file, a := zipFile(n)
		return func() result {
			got, err := contents(file)
			// What stands above the archive must not be led to more by it.
			_, _ = format.Decode("", file)
			_, _ = preprocess.Decode(file)
			res := result{kind: kind, read: err == nil, sound: kind == "sound"}
			switch {
			case kind == "sound":
				res.wrong = soundIsRead(a, got, err)
			case err != nil:
			case kind == "changed bytes":
				res.wrong = sameAsGo(file, got)
			default:
				res.wrong = "it was read"
			}
			return res
		}
	}
}

func soundIsRead(a *archive, got map[string][]byte, err error) string {
	if err != nil {
		return err.Error()
	}
	for _, e := range a.entries {
		if !bytes.Equal(got[e.central.name], e.data) {
			return e.central.name + " has other contents"
		}
	}
	return ""
}

// sameAsGo holds what was read against the reader of the standard library, which
// takes more than this one but must not see anything else in what both take.
func sameAsGo(file []byte, got map[string][]byte) string {
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return "Go refuses what was read: " + err.Error()
	}
	seen := 0
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		seen++
		r, err := f.Open()
		if err != nil {
			return "Go refuses a member: " + err.Error()
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return "Go refuses a member: " + err.Error()
		}
		if own, ok := got[f.Name]; !ok || !bytes.Equal(own, b) {
			return fmt.Sprintf("Go reads %d other bytes in %q", len(b), f.Name)
		}
	}
	if seen != len(got) {
		return fmt.Sprintf("%d members, Go sees %d", len(got), seen)
	}
	return ""
}

// TestZips: archives by the million, each with one of the known lies of zip
// files, are refused at once; those that are sound are read.
func TestZips(t *testing.T) {
	ledger.Begin(t)
	o := generate(t, "zips")
	o.row(t, "A6", fmt.Sprintf("zip archives, each with one of %d lies", len(attacks)), "archives")
	o.within(t, zipTime, zipMemory)
	if o.Files >= few {
		for _, a := range attacks {
			if o.Kinds[a.name] == 0 {
				t.Errorf("%s was not tried", a.name)
			}
		}
	}
	if o.KindsRead["sound"] != o.Kinds["sound"] {
		t.Errorf("%d of %d sound archives were read", o.KindsRead["sound"], o.Kinds["sound"])
	}
}
