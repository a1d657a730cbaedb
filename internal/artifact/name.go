package artifact

import (
	"fmt"
	"path"
	"strings"
)

// maxNameBytes bounds names of models, versions and members. It is the length
// of a DNS label plus one, as in other model servers' name rules.
const maxNameBytes = 64

// ValidName reports whether s may name a model, a version or a member: it
// matches ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$ and holds no "..".
func ValidName(s string) bool {
	if s == "" || len(s) > maxNameBytes || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// ValidVersion reports whether s may name a version: a plain name, or a
// semantic version with build data, whose plus sign a plain name cannot hold.
func ValidVersion(s string) bool {
	if ValidName(s) {
		return true
	}
	if len(s) > maxNameBytes || !ValidName(strings.ReplaceAll(s, "+", "-")) {
		return false
	}
	_, err := ParseVersion(s)
	return err == nil
}

// checkName returns an error that says what a plain name is. It does not
// repeat more than the start of a long name.
func checkName(s string) error {
	if ValidName(s) {
		return nil
	}
	return fmt.Errorf("%w: %s (letters, digits, '.', '_' and '-', at most %d, no folders)", ErrName, quote(s), maxNameBytes)
}

// quote quotes at most 80 bytes of s, so that a hostile card cannot fill the
// log.
func quote(s string) string {
	if len(s) > 80 {
		return fmt.Sprintf("%q...", s[:80])
	}
	return fmt.Sprintf("%q", s)
}

// NameFromPath makes a plain model name of the last part of a slash path.
func NameFromPath(p string) string {
	base := path.Base(path.Clean(p))
	if ext := path.Ext(base); isModelExtension(ext) {
		base = strings.TrimSuffix(base, ext)
	}
	var b strings.Builder
	for _, r := range base {
		if b.Len() >= maxNameBytes {
			break
		}
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && r == '.' && strings.HasSuffix(b.String(), "."):
		case b.Len() > 0:
			if r != '.' && r != '_' {
				r = '-'
			}
			b.WriteRune(r)
		}
	}
	if b.Len() == 0 {
		return "policy"
	}
	return b.String()
}
