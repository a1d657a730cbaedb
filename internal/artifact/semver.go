package artifact

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrVersion is wrapped by every error about the form of a version or of a
// constraint.
var ErrVersion = errors.New("invalid version")

// Version is a semantic version in the form that artifact folders are named
// by: v1.2.3, v1.2.3-rc.1, v1.2.3+build.
type Version struct {
	Major, Minor, Patch uint64
	Prerelease          string // dot-separated identifiers, or ""
	Build               string // never compared
}

// ParseVersion reads a version. The leading v may be absent, but not a capital
// one; blanks around are dropped; numbers have no leading zeros.
func ParseVersion(s string) (Version, error) {
	var v Version
	text := strings.TrimSpace(s)
	bad := func(why string) (Version, error) {
		return Version{}, fmt.Errorf("%w %s: %s", ErrVersion, quote(s), why)
	}
	if len(text) > 256 {
		return bad("longer than 256 characters")
	}
	rest := strings.TrimPrefix(text, "v")
	rest, build, hasBuild := strings.Cut(rest, "+")
	core, pre, hasPre := strings.Cut(rest, "-")
	numbers := strings.Split(core, ".")
	if len(numbers) != 3 {
		return bad("want MAJOR.MINOR.PATCH")
	}
	for i, dst := range []*uint64{&v.Major, &v.Minor, &v.Patch} {
		if !isNumeric(numbers[i]) {
			return bad("want MAJOR.MINOR.PATCH in decimal digits")
		}
		if hasLeadingZero(numbers[i]) {
			return bad("a number has a leading zero")
		}
		n, err := strconv.ParseUint(numbers[i], 10, 64)
		if err != nil {
			return bad("a number is too large")
		}
		*dst = n
	}
	if hasPre {
		for id := range strings.SplitSeq(pre, ".") {
			if !isIdentifier(id) {
				return bad("the part after - must be identifiers of letters, digits and -")
			}
			if isNumeric(id) && hasLeadingZero(id) {
				return bad("a number after - has a leading zero")
			}
		}
		v.Prerelease = pre
	}
	if hasBuild {
		for id := range strings.SplitSeq(build, ".") {
			if !isIdentifier(id) {
				return bad("the part after + must be identifiers of letters, digits and -")
			}
		}
		v.Build = build
	}
	return v, nil
}

// String prints the version with its v.
func (v Version) String() string {
	s := fmt.Sprintf("v%d.%d.%d", v.Major, v.Minor, v.Patch)
	if v.Prerelease != "" {
		s += "-" + v.Prerelease
	}
	if v.Build != "" {
		s += "+" + v.Build
	}
	return s
}

// Stable reports whether v is not a prerelease.
func (v Version) Stable() bool { return v.Prerelease == "" }

// Equal reports whether v and o are the same version; build data does not
// count.
func (v Version) Equal(o Version) bool { return v.Compare(o) == 0 }

// Compare orders versions: by number, a release above its prereleases, and
// prereleases by identifier. Two identifiers are compared as numbers only
// when both are numbers, else as text.
func (v Version) Compare(o Version) int {
	if c := cmp.Or(cmp.Compare(v.Major, o.Major), cmp.Compare(v.Minor, o.Minor), cmp.Compare(v.Patch, o.Patch)); c != 0 {
		return c
	}
	switch {
	case v.Prerelease == o.Prerelease:
		return 0
	case v.Prerelease == "":
		return 1
	case o.Prerelease == "":
		return -1
	}
	a, b := strings.Split(v.Prerelease, "."), strings.Split(o.Prerelease, ".")
	for i := range min(len(a), len(b)) {
		if c := compareIdentifiers(a[i], b[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func compareIdentifiers(a, b string) int {
	if isNumeric(a) && isNumeric(b) {
		// Without leading zeros the longer number is the larger one, however
		// many digits it has.
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	}
	return strings.Compare(a, b)
}

func isNumeric(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func hasLeadingZero(s string) bool { return len(s) > 1 && s[0] == '0' }

func isIdentifier(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-':
		default:
			return false
		}
	}
	return true
}
