package server

import (
	"regexp"
	"testing"
)

// TestRequestIDForm holds that what is drawn is a UUID of version 4, and that
// each of its digits but those that say so varies.
func TestRequestIDForm(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	var seen [36]map[byte]bool
	for range 2000 {
		id := requestID(nil, nil)
		if !form.Match(id) {
			t.Fatalf("%q is no UUID of version 4", id)
		}
		for i, c := range id {
			if seen[i] == nil {
				seen[i] = map[byte]bool{}
			}
			seen[i][c] = true
		}
	}
	for i, digits := range seen {
		want := 16
		switch i {
		case 8, 13, 14, 18, 23:
			want = 1
		case 19:
			want = 4
		}
		if len(digits) != want {
			t.Errorf("at %d there are %d digits, want %d", i, len(digits), want)
		}
	}
}
