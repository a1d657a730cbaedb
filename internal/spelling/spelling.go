// Package spelling finds the word that was meant by one that is not known: for
// keys of cards and configurations, names of settings and features.
package spelling

import "strings"

// longest is the length in bytes beyond which words are not compared: the work
// grows with the square of it, and the word may be a stranger's.
const longest = 64

// Nearest returns the one of the known words that word was most likely meant to
// be, or "". Case does not count. Words of up to five letters may differ by one
// edit, longer ones by two, and no word is near to one that it shares no letter
// with.
func Nearest(word string, of []string) string {
	limit := 1
	if len(word) > 5 {
		limit = 2
	}
	best, least := "", limit+1
	for _, k := range of {
		if strings.EqualFold(word, k) {
			return k
		}
		if d := Distance(strings.ToLower(word), strings.ToLower(k)); d < least && d < min(len(word), len(k)) {
			best, least = k, d
		}
	}
	return best
}

// Distance counts the insertions, deletions, replacements and swaps of
// neighbouring bytes that turn a into b. Words that are too long to be compared
// are further from each other than any others.
func Distance(a, b string) int {
	if len(a) > longest || len(b) > longest {
		return longest + 1
	}
	before := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
