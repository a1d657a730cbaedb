package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Hash is one entry of artifact_hashes.
type Hash struct {
	Name   string // plain member name
	SHA256 string // 64 lower-case hex digits
	Line   int
}

// parseHash reads a digest in either spelling: bare hex or with the prefix
// "sha256:", in any case. Text that only stands where a digest should go is
// told apart, because the operator mends it differently.
func parseHash(s string) (string, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	digest := text
	if algorithm, rest, found := strings.Cut(text, ":"); found {
		if algorithm != "sha256" {
			return "", fmt.Errorf("%w: digests of kind %s are not supported, only sha256", ErrCard, quote(algorithm))
		}
		digest = strings.TrimSpace(rest)
	}
	if isPlaceholder(digest) {
		return "", fmt.Errorf("%w: %s stands where a SHA-256 should be", ErrPlaceholder, quote(s))
	}
	if len(digest) != 2*sha256.Size {
		return "", fmt.Errorf("%w: a SHA-256 has %d hex digits, got %d characters", ErrCard, 2*sha256.Size, len(digest))
	}
	if _, err := hex.DecodeString(digest); err != nil {
		return "", fmt.Errorf("%w: %s is not hexadecimal", ErrCard, quote(s))
	}
	return digest, nil
}

// isPlaceholder tells text that a person meant to replace, such as the
// deployment guide's "abc123...", from a digest that is merely wrong.
func isPlaceholder(digest string) bool {
	if digest == "" || strings.Contains(digest, "...") || strings.Contains(digest, "…") || strings.ContainsAny(digest, "<>{}$") {
		return true
	}
	for _, word := range []string{"todo", "fixme", "changeme", "placeholder", "replace", "your", "example", "unknown", "none", "null", "tbd"} {
		if strings.Contains(digest, word) {
			return true
		}
	}
	// One character repeated: xxxx, 0000.
	if strings.Trim(digest, digest[:1]) == "" {
		return true
	}
	return digest == "abc123" || digest == "def456"
}

func digestOf(members []Member) string {
	sorted := slices.Clone(members)
	slices.SortFunc(sorted, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	h := sha256.New()
	for _, m := range sorted {
		_, _ = io.WriteString(h, m.Name+"\x00"+m.SHA256+"\n")
	}
	return hex.EncodeToString(h.Sum(nil))
}
